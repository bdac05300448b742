"""Tables without training: what any figures look like in every form, the paper's figures, the package's recipes."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcot.methods import PauseMultipass
from latentcot.recipe import shipped
from latentcot.table import cells
from latentcot.table.cells import chosen, plan
from latentcot.table.figure import draw
from latentcot.table.recipe import PUBLISHED_TOKENS_NOTES, published, read_table
from latentcot.table.render import COLUMNS, as_csv, as_json, latex, markdown
from latentcot.table.results import Entry, Run, _entry

NINE = [
    "cot", "no_cot", "icot", "pause_token", "coconut", "without_curriculum", "without_thought", "pause_as_thought",
    PauseMultipass().name,
]  # fmt: skip


def run(seed: int, right: int, tokens: float) -> Run:
    return Run(
        seed=seed, run=f"d/r/seed-{seed}", start=None, n=200, right=right, accuracy=right / 200, tokens=tokens,
        thoughts=2.0, seconds_per_example=0.01, stages=[{"stage": 0, "thoughts": 0, "accuracy": 0.5}],
        reached_last_stage=True, updates=4, training_seconds=1.0,
        sha256=dict.fromkeys(("train", "valid", "test"), "0" * 64), code="0", machine="m", threads=[1],
    )  # fmt: skip


RUNS = st.lists(st.tuples(st.integers(0, 200), st.floats(0, 99)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=50)
@given(st.lists(RUNS, min_size=1, max_size=4))
def test_all_forms_say_the_same(figures: list[list[tuple[int, float]]]) -> None:
    paper = published()["prosqa"]
    entries: list[Entry] = [
        _entry(f"set_{number % 2}", NINE[number], [run(seed, *each) for seed, each in enumerate(runs)], paper["cot"])
        for number, runs in enumerate(figures)
    ]
    entries.sort(key=lambda entry: entry.dataset)
    written = json.loads(as_json(entries))["entries"]
    rows = list(csv.DictReader(io.StringIO(as_csv(entries))))
    tex, page = latex(entries), markdown(entries)
    assert tuple(rows[0]) == COLUMNS
    for entry, said, row in zip(entries, written, rows, strict=True):
        assert said["accuracy"] == entry.accuracy == float(row["accuracy"])
        assert said["interval"] == [*entry.interval] == [float(row["low"]), float(row["high"])]
        assert float(row["published_accuracy"]) == said["published"]["accuracy"] == 0.775
        assert 0 <= entry.interval[0] <= entry.accuracy <= entry.interval[1] <= 1
        spread = "" if entry.sd is None else f" ± {100 * entry.sd:.1f}"
        assert row["sd"] == ("" if entry.sd is None else str(entry.sd))
        shown = f"{100 * entry.accuracy:.1f}{spread}"
        assert f"| {entry.row} | {len(entry.runs)} | {shown} |" in page
        name = entry.row.replace("_", "\\_")
        (line,) = [line for line in tex.splitlines() if line.startswith(f"{name} &")]
        column = ["set_0", "set_1"].index(entry.dataset) if len(figures) > 1 else 0
        cells_of_line = [cell.strip() for cell in line.removesuffix("\\\\").split("&")]
        assert cells_of_line[1 + 2 * column] == shown.replace("±", "$\\pm$")
        assert cells_of_line[2 + 2 * column] == f"{entry.tokens:.1f}"
    columns = tex.splitlines()[0].count("r}") and re.search(r"\{l(r+)\}", tex)
    assert columns
    for line in tex.splitlines():
        if line.endswith("\\\\") and "multicolumn" not in line:
            assert line.count("&") == len(columns[1])


def test_a_run_that_ended_early_is_marked() -> None:
    early = _entry("d", "cot", [Run(**{**vars(run(0, 3, 1.0)), "reached_last_stage": False})], None)
    whole = _entry("d", "cot", [run(0, 3, 1.0)], None)
    assert "| cot † | 1 |" in markdown([early])
    assert "cot$^\\dagger$ &" in latex([early])
    for text in (markdown, latex):
        assert "epochs ended before its last stage" in text([early])
        assert "epochs ended before its last stage" not in text([whole])
        assert "published" not in text([whole]).lower()
    assert [row["reached_last_stage"] for row in csv.DictReader(as_csv([early, whole]).splitlines())] == [
        "False",
        "True",
    ]
    assert "†".encode() in draw([early])["table.svg"]


def test_the_papers_figures_parse() -> None:
    figures = published()
    assert set(figures) == {"gsm8k", "prontoqa", "prosqa"}
    for rows in figures.values():
        assert list(rows) == NINE[:-1]
        for row in rows.values():
            assert 0 < row["accuracy"] <= 1
            assert row["tokens"] > 2
    assert figures["gsm8k"]["coconut"] == {"accuracy": pytest.approx(0.341), "sd": pytest.approx(0.015), "tokens": 8.2}
    assert "sd" not in figures["gsm8k"]["icot"]


@pytest.mark.parametrize("recipe", sorted(shipped("table").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_table_recipe_of_the_package_makes_cells(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "digest", str)  # The data is not here.
    monkeypatch.setattr(cells, "_hashes", lambda config: {"train": "", "valid": ""})
    table = read_table(recipe)
    found = plan(table, Path("run"), str(recipe))
    assert len(found) == len(table.rows) * len(table.datasets) * len(table.seeds)
    assert list(table.rows) == {"smollm2": ["cot", "no_cot", "coconut"]}.get(recipe.stem, NINE)
    for cell in found:
        # Chains of the laptop tasks have up to 20 tokens, those of the published sets up to 103.
        longest = {"chains": 20, "prosqa-small": 5}.get(cell.dataset, 103)
        stages = cell.config.method.plan(cell.config.curriculum, longest)
        assert cell.config.method.name == cell.row
        assert sum(stage.epochs for stage in stages) == cell.config.curriculum.epochs
        assert cell.config.seed == cell.seed
        if cell.start is not None:
            assert cell.config.model.base == f"run/{cell.dataset}/{cell.start}/seed-{cell.seed}"
            first = next(c for c in found if (c.dataset, c.row, c.seed) == (cell.dataset, cell.start, cell.seed))
            assert found.index(first) < found.index(cell)
    assert chosen(found, None) == found
    seeds = [cell.seed for cell in found]
    assert seeds == sorted(seeds)


def test_published_tokens_that_are_counted_in_another_way_are_said_beside() -> None:
    """ProntoQA's 3.0 and 9.0 against 2.0 and 8.0; not the paper's CoT row, nor its other data sets."""
    paper, notes = published(), PUBLISHED_TOKENS_NOTES
    entries = [
        _entry(name, row, [run(0, 100, tokens)], paper[name].get(row), notes.get(name, "") if row != "cot" else "")
        for name in ("prontoqa", "prosqa")
        for row, tokens in (("cot", 92.6), ("no_cot", 2.0), ("coconut", 8.0), ("pause_multipass", 2.0))
    ]
    page, tex = markdown(entries), latex(entries)
    assert [line.split(" | ")[0][2:] for line in page.splitlines() if line.endswith(".0 ‡ |")] == ["no_cot", "coconut"]
    assert page.count(f"‡ Published tokens: {notes['prontoqa']}") == 1
    assert "### True is two tokens" in page
    assert tex.count(r"3.0 $^\ddagger$") == tex.count(r"9.0 $^\ddagger$") == 1
    assert "% double dagger: published tokens: one more" in tex
    assert [bool(entry["published_tokens_note"]) for entry in json.loads(as_json(entries))["entries"]] == [
        False, True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert "‡" not in markdown(entries[4:]) + latex(entries[4:])
