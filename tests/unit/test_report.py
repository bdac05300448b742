"""The report is one file that stands alone, and shows the figures it was given."""

import re
from pathlib import Path

from latentcot.report.page import Question, write_page
from latentcot.report.plots import learning_curves, thought_bars

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


def test_the_page_needs_no_network_and_escapes_what_is_text(tmp_path: Path) -> None:
    bars = thought_bars([[0.1, 0.9], [0.7, 0.3]], ["A", "B"], ["B", "A"])
    question = Question("A <b>B</b>?", ["Then A B."], "B", "### B", bars)
    page = tmp_path / "report.html"
    write_page(page, "a title", {"coconut": ROW}, learning_curves({"coconut": LOG}), question, {"seed": 3})
    text = page.read_text()
    assert "75.4 %" in text
    assert "4,000" in text
    assert text.count("<svg") == 2
    assert "A &lt;b&gt;B&lt;/b&gt;?" in text
    # Names of XML vocabularies are no addresses that a browser opens.
    assert not re.search(r'(?:src|href)="(?!#)', re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert not list(tmp_path.glob("*.partial"))


def test_curves_mark_where_stages_begin() -> None:
    figure = learning_curves({"coconut": LOG, "cot": LOG[:2]})
    assert len(re.findall(r"<!-- stage \d -->", figure)) == 2  # The row with one stage has no marks.


def test_bars_have_a_panel_for_each_number_of_thoughts() -> None:
    figure = thought_bars([[0.1, 0.9], [0.7, 0.3], [1.0, 0.0]], ["A", "B"], ["B", "A"])
    assert re.findall(r"<!-- (\d thoughts?) -->", figure) == ["0 thoughts", "1 thought", "2 thoughts"]
