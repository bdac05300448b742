"""A table in which files of a cell went bad: that cell is named, the others are shown, and nothing is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentcot.cli import main
from latentcot.table.build import _yaml
from latentcot.table.cells import hashes, plan
from latentcot.table.recipe import read_table
from tests.unit.run_folders import TEST, write_records
from tests.unit.test_run_records import BYTES

RECIPE = {
    "data": {"train": "data/train.json", "valid": "data/valid.json"},
    "model": {"scratch": {"layers": 1, "heads": 2, "width": 16, "positions": 64}},
}
TABLE = {
    "rows": {"cot": {"method": "CoT"}, "no_cot": {"method": "NoCoT"}},
    "datasets": {"chains": {"recipe": "tiny.yaml", "test": "data/test.json"}},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table that is finished but for its forms, of models that were not trained; its run that the tests damage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latentcot.table.figure.draw", lambda entries: {})
    assert main(["data", "make", "chains", "--out=data", "--train=8", "--valid=4", "--test=6", "--hops=2"]) == 0
    Path("tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    Path("table.yaml").write_text(yaml.safe_dump(TABLE))
    for cell in plan(read_table("table.yaml"), Path("run"), "table.yaml"):
        found = hashes(cell)
        write_records(cell.run, cell.config, {name: found[name] for name in ("train", "valid")})
        (cell.run / "test.json").write_text(json.dumps({**TEST, "row": cell.row, "sha256": found}))
    Path("run/table.yaml").write_text(_yaml(read_table("table.yaml")))
    return Path("run/chains/cot/seed-0")


def shown() -> list[str]:
    return [entry["row"] for entry in json.loads(Path("run/table.json").read_text())["entries"]]


@pytest.mark.parametrize(
    ("name", "damage", "jobs"),
    [
        ("config.yaml", "empty", 1), ("config.yaml", "{}", 2), ("result.json", "zeros", 2), ("result.json", "[]", 1),
        ("test.json", "cut", 1), ("test.json", "null", 2),
    ],
)  # fmt: skip
def test_the_other_cells_are_shown(
    name: str, damage: str, jobs: int, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / name
    file.write_bytes(BYTES[damage](file.read_bytes()))
    before = {path: path.read_bytes() for path in Path("run/chains").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["table", "table.yaml", "--run=run", f"--jobs={jobs}"]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert f"chains/cot/seed-0 failed: {file}: " in line
    assert "restore it" in line or "remove this file" in line
    assert "no_cot" in printed.out.splitlines()[-2]  # The screen's table.
    assert shown() == ["no_cot"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_wrong_type(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "test.json").write_text(json.dumps({**TEST, "accuracy": "half"}))
    assert main(["table", "table.yaml", "--run=run"]) == 2
    assert "test.json: accuracy is 'half' and not a number" in capsys.readouterr().err


def test_a_dry_run_names_the_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "test.json").write_text("")
    assert main(["table", "table.yaml", "--run=run", "--dry-run"]) == 2
    assert f"{run / 'test.json'}: is damaged" in capsys.readouterr().err


def test_a_test_file_that_is_removed_is_made_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says: the run is evaluated again, not trained."""
    kept = (run / "test.json").read_bytes()
    evaluated: list[Any] = []
    work: Callable[[Any], dict[str, Any]] = lambda cell: evaluated.append(cell.name) or json.loads(kept)  # noqa: E731
    monkeypatch.setattr("latentcot.table.work._evaluate", work)
    (run / "test.json").unlink()
    assert main(["table", "table.yaml", "--run=run"]) == 0
    assert evaluated == ["chains/cot/seed-0"]
    assert shown() == ["cot", "no_cot"]


def test_threads_of_each_run_are_in_the_table(run: Path) -> None:
    """As the run's own record has them; a run of an earlier version has none."""
    pieces = [{"from_update": 0, "threads": 1}, {"from_update": 40, "threads": 2}]
    (run / "environment.json").write_text(json.dumps({"pieces": pieces}))
    assert main(["table", "table.yaml", "--run=run"]) == 0
    entries = json.loads(Path("run/table.json").read_text())["entries"]
    assert {entry["row"]: entry["runs"][0]["threads"] for entry in entries} == {"cot": [1, 2], "no_cot": []}
    page = Path("run/table.md").read_text()
    assert "| m | 1 2 |" in page
    assert "with other last bits" in page
