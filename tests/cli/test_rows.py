"""Every row of the table: its report is written, and every analysis works on it or says in one line why not."""

from pathlib import Path

import pytest

from latentcot import methods
from latentcot.cli import main
from latentcot.cli.analyze import VERBS
from latentcot.core import UserError
from latentcot.methods import Method
from latentcot.report import look
from latentcot.report import run as report_run
from latentcot.report.findings import Finding
from latentcot.runs.records import read_result
from tests.unit.run_folders import make_run

ROWS: list[type[Method]] = [getattr(methods, name) for name in methods.__all__ if name != "Method"]
OTHERS = ("sweep", "case", "probe")
"""They need several runs, an answer that thoughts mend, or more questions."""
WITHOUT_THOUGHTS = {"cot", "no_cot", "icot", "without_thought"}
WITH_STATES = {"coconut", "without_curriculum"}
OF_STATES = {"decode", "faithfulness", "health"}
"""Analyses of the states that are fed back: pauses are no such states."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--train=1", "--valid=1", "--test=4", "--nodes=12", "--seed=7"]
    assert main(["data", "make", "prosqa", "--out", str(folder), *sizes]) == 0
    return folder / "test.json"


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: row.__name__)
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", request.param(), data)


def test_the_nine_rows_are_here() -> None:
    assert len(ROWS) == 9


def test_a_report_of_every_row(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the drawing of images, which is slow and the same for all rows."""
    found: list[Finding] = []
    monkeypatch.setattr(report_run, "write_finding", lambda folder, finding, context: found.append(finding))
    monkeypatch.setattr(report_run, "svg", lambda figure: "<svg></svg>")
    row = read_result(run)["row"]
    assert main(["report", str(run), "--out", str(tmp_path / "report.html"), "--limit=3"]) == 0
    expected = {"learning"}
    if row not in WITHOUT_THOUGHTS:
        expected |= {"interpolation", "tree-of-one", "tree", "height", "race-of-one", "race", "parallelism"}
    if row in WITH_STATES:
        expected |= OF_STATES
    assert {finding.name for finding in found} - {"case"} == expected
    assert all(finding.rows for finding in found)
    page = (tmp_path / "report.html").read_text()
    assert f"latentcot: {row}" in page
    assert page.count("<svg></svg>") == len(found)


def test_an_analysis_works_or_says_why_not(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Finding] = []
    monkeypatch.setattr(look, "write_finding", lambda folder, finding, context: found.append(finding))
    row = read_result(run)["row"]
    for path, (analyze, _) in VERBS.items():
        name = path[1]
        if name in OTHERS:
            continue
        found.clear()
        options = {"checkpoint": run, "data": str(data), "out": tmp_path / name, "limit": 3}
        if row in WITH_STATES or (row not in WITHOUT_THOUGHTS and name not in OF_STATES):
            analyze(**options)
            assert [finding.name for finding in found] == [name]
            assert found[0].rows
        else:
            with pytest.raises(
                UserError, match=r"^[^\n]*(has no continuous thoughts|has no thoughts to look into)[^\n]*$"
            ):
                analyze(**options)
            assert not found
