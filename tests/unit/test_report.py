"""A page is one file that stands alone, and shows the parts that it was given; a finding is four files."""

import csv
import json
import re
from pathlib import Path

import pytest

from latentcot.analysis.values import Value
from latentcot.core import UserError
from latentcot.files import write_whole
from latentcot.report.findings import Finding
from latentcot.report.page import Page, Section, write_page
from latentcot.report.plots.curves import learning_curves
from latentcot.report.plots.race import draw_race
from latentcot.report.plots.style import decimals, grid, printable, svg
from latentcot.report.write import finding_files, table, write_finding

LOG = [
    {"step": 10, "stage": 0, "loss": 1.5},
    {"step": 20, "stage": 0, "eval_accuracy": 0.25},
    {"step": 30, "stage": 1, "loss": 0.5},
    {"step": 40, "stage": 1, "eval_accuracy": 0.75},
]
ROW = {
    "accuracy": 0.754, "tokens": 6.04, "thoughts": 4.0, "seconds_per_example": 0.0012, "updates": 4000,
    "training_seconds": 321.0,
}  # fmt: skip
VALUES = [
    Value(0, number, name, value, name == right)
    for number, right, values in ((0, "A", (0.9, 0.1)), (1, "B", (0.7, 0.3)), (2, "B", (0.2, 0.8)))
    for name, value in zip("AB", values, strict=True)
]


def test_the_page_needs_no_network_and_escapes_what_is_text(tmp_path: Path) -> None:
    sections = [
        Section("curves", svg(learning_curves({"coconut": LOG})), "how to read"),
        Section("race", svg(draw_race(VALUES)), "a <note>", ["A <b>B</b>?"]),
    ]
    answers = [{"question": "C?", "gold": "D", "text": "### <D>", "correct": False}]
    page = tmp_path / "report.html"
    write_page(page, Page("a title", {"seed": 3}, sections, {"coconut": ROW}, answers=answers))
    text = page.read_text()
    assert "75.4 %" in text
    assert "4,000" in text
    assert text.count("<svg") == 2
    assert "A &lt;b&gt;B&lt;/b&gt;?" in text
    assert "### &lt;D&gt;" in text
    # Names of XML vocabularies are no addresses that a browser opens.
    assert not re.search(r'(?:src|href)="(?!#)', re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert list(tmp_path.iterdir()) == [page]


def test_parts_that_are_empty_and_metrics_that_no_row_has_are_left_out(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_page(page, Page("a title", {"seed": 3}))
    assert "Answers" not in page.read_text()
    assert "accuracy" not in page.read_text()
    write_page(page, Page("a title", {}, rows={"a": {"accuracy": 0.5, "updates": 7}, "b": {"accuracy": 0.25}}))
    assert re.findall(r"<th>(.*?)</th>", page.read_text()) == ["row", "accuracy", "updates"]
    assert re.findall(r"<td>(.*?)</td>", page.read_text()) == ["a", "50.0 %", "7", "b", "25.0 %", ""]


def test_curves_mark_where_stages_begin() -> None:
    figure = svg(learning_curves({"coconut": LOG, "cot": LOG[:2]}))
    assert len(re.findall(r"<!-- stage \d -->", figure)) == 2  # The row with one stage has no marks.


def test_a_race_has_a_panel_for_each_number_of_thoughts_with_the_best_on_top() -> None:
    figure = draw_race(VALUES)
    assert [axes.get_title() for axes in figure.axes] == ["0 thoughts", "1 thought", "2 thoughts"]
    assert [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes] == [
        ["A", "B"], ["A", "B"], ["B", "A"],
    ]  # fmt: skip


def test_the_same_figure_gives_the_same_text() -> None:
    assert svg(draw_race(VALUES)) == svg(draw_race(VALUES))


def test_a_finding_is_four_files_whose_numbers_agree(tmp_path: Path) -> None:
    rows = [{"thought": 1, "name": "a, b", "cosines": [1.0, 0.5]}, {"thought": 2, "name": None, "cosines": [0.5, 1.0]}]
    finding = Finding("race", "a title", "a note", draw_race(VALUES), rows, {"question": "é?"})
    write_finding(tmp_path, finding, {"data": "d.json"})
    assert sorted(tmp_path.iterdir()) == sorted(finding_files(tmp_path, "race"))
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "race.svg").read_text().startswith("<svg")
    described = json.loads((tmp_path / "race.json").read_text())
    assert described["rows"] == rows
    assert described["question"] == "é?"
    assert described["data"] == "d.json"
    with (tmp_path / "race.csv").open() as file:
        found = list(csv.DictReader(file))
    assert found[0] == {"thought": "1", "name": "a, b", "cosines_1": "1.0", "cosines_2": "0.5"}
    assert found[1]["name"] == ""


def test_rows_may_differ_in_their_columns() -> None:
    assert table([{"a": 1}, {"b": 2}]) == "a,b\n1,\n,2\n"


@pytest.mark.parametrize(
    ("value", "text"), [(0.333, ".33"), (0.0, ".00"), (0.999, "1"), (1.0, "1"), (-0.06, "-.06"), (-0.001, ".00")]
)
def test_decimals(value: float, text: str) -> None:
    assert decimals(value) == text


@pytest.mark.parametrize(("panels", "expected"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (7, (2, 4)), (9, (3, 3))])
def test_grids_have_a_place_for_each_panel(panels: int, expected: tuple[int, int]) -> None:
    assert grid(panels, 4) == expected


def test_tokens_that_cannot_be_seen_are_spelled_out() -> None:
    assert [printable(token) for token in ("word", " word", "\n", "", "\x00")] == [
        "word", " word", r"'\n'", "''", r"'\x00'",
    ]  # fmt: skip


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=r"file/new\.txt: cannot be written"):
        write_whole(tmp_path / "file" / "new.txt", b"lost")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_whole(tmp_path / "folder", b"lost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
