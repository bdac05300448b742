"""The scripts in benchmarks/: what they write at small sizes, and that they measure nothing twice."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.compare import Answers, compare
from benchmarks.floor import gpt2, lines
from benchmarks.growth import Base, Factors, growth, points
from benchmarks.parts import Parts
from latentcot.bench import timing
from latentcot.bench.floor import Sizes
from latentcot.bench.models import VOCABULARY
from latentcot.config import Scratch
from latentcot.core import UserError

TINY = Scratch(layers=1, heads=2, width=32, positions=64)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, nothing can be measured."""

    def fail(*_: object) -> None:
        raise AssertionError("measured again")

    return lambda: monkeypatch.setattr(timing, "alternate", fail)


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SQUARES", {"cpu": (64,), "cuda": (64,)})


def test_the_written_floor_is_the_reckoned_one() -> None:
    readme = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text()
    assert "\n".join(lines(gpt2(12, 768, VOCABULARY), Sizes(8, 384, 6, 12))) in readme


def test_compare_measures_once(tmp_path: Path, fails: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    def run(**changes: int) -> None:
        sizes = {"batch": 2, "prompt": 8, "thoughts": 2, "target": 3, "repeats": 2, **changes}
        compare(tmp_path, answers=Answers(questions=2, prompt=6, tokens=3), scratch=TINY, **sizes)

    run()
    page, content = (tmp_path / "compare.md").read_text(), json.loads((tmp_path / "compare.json").read_text())
    assert capsys.readouterr().out.strip() == page.strip()
    for name, seconds in content["parts"]["updates"].items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")][:1]
        assert f"{timing.ratio(seconds, content['parts']['updates']['ordinary update']):.2f}" in row
    fails()
    run()
    assert json.loads((tmp_path / "compare.json").read_text()) == content
    with pytest.raises(UserError, match=r"setting.sizes.batch is 2 there and 3 here: give another --out"):
        run(batch=3)
    assert json.loads((tmp_path / "compare.json").read_text()) == content


def test_growth_measures_each_point_once(tmp_path: Path, fails: Callable[[], None]) -> None:
    vary = Factors(thoughts=(0, 2), batch=(1, 2), prompt=(6,), model=("1x32",))
    base = Base(thoughts=2, batch=2, prompt=6, model="1x32", target=2)
    growth(tmp_path, vary, base, repeats=1)
    rows = list(csv.DictReader((tmp_path / "growth.csv").read_text().splitlines()))
    assert [(row["factor"], row[row["factor"]]) for row in rows] == [
        ("thoughts", "0"), ("thoughts", "2"), ("batch", "1"), ("batch", "2"), ("prompt", "6"), ("model", "1x32"),
    ]  # fmt: skip
    assert rows[0]["thought_ratio"] == ""
    assert all(float(row["update_ratio"]) > 0 for row in rows)
    assert rows[3]["update_ratio"] == rows[4]["update_ratio"] == rows[5]["update_ratio"]
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "growth.svg").read_text().startswith("<svg")
    fails()
    growth(tmp_path, vary, base, repeats=1)
    assert list(csv.DictReader((tmp_path / "growth.csv").read_text().splitlines())) == rows


def test_growth_varies_one_factor_at_a_time() -> None:
    base = Base()
    for factor, at in points(Factors(), base):
        differing = [name for name, value in vars(at).items() if value != getattr(base, name)]
        assert differing in ([], [factor])


def test_an_interrupted_measurement_leaves_the_finished_ones(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "parts.json", {"seed": 0})
    assert parts.get("first", lambda: {1: 2.5}) == {"1": 2.5}
    with pytest.raises(ZeroDivisionError):
        parts.get("second", lambda: 1 / 0)
    again = Parts(tmp_path / "parts.json", {"seed": 0})
    assert again.get("first", lambda: 1 / 0) == {"1": 2.5}
    assert again.get("second", lambda: 3) == 3


def test_a_model_that_is_no_size_is_refused() -> None:
    with pytest.raises(UserError, match="'big' is not layers x width"):
        _ = Base(model="big").scratch
