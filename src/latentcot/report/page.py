"""The one-file HTML report: a table, sections with figures, answers and facts, with no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from latentcot.files import write_whole


@dataclass(frozen=True)
class Section:
    """A figure (an SVG element) under a title, after paragraphs of `text` and before a note on how to read it."""

    title: str
    figure: str
    note: str
    text: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What a report says; a part that is empty is left out."""

    title: str
    facts: Mapping[str, Any]
    """What was run and on what."""
    sections: Sequence[Section] = ()
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The table: for each row its metrics, of which it shows those in `COLUMNS`."""
    rows_are: str = "row"
    """Head of the column with the rows' names."""
    answers: Sequence[Mapping[str, Any]] = ()
    """As `Evaluation.records` gives them."""


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "accuracy": ("accuracy", lambda value: f"{100 * value:.1f} %"),
    "tokens": ("tokens", lambda value: f"{value:.1f}"),
    "thoughts": ("thoughts", lambda value: f"{value:.0f}"),
    "seconds_per_example": ("seconds per question", lambda value: f"{value:.4f}"),
    "updates": ("updates", lambda value: f"{value:,}"),
    "training_seconds": ("training", lambda value: f"{value:.0f} s"),
}
"""Head and format of each metric that a table shows."""


def write_page(path: Path, page: Page) -> None:
    """Write the page as one file that loads nothing."""
    environment = Environment(loader=PackageLoader("latentcot.report", "."), autoescape=select_autoescape(default=True))
    shown = {key: column for key, column in COLUMNS.items() if any(key in row for row in page.rows.values())}
    cells = {
        name: [form(row[key]) if key in row else "" for key, (_, form) in shown.items()]
        for name, row in page.rows.items()
    }
    columns = [head for head, _ in shown.values()]
    text = environment.get_template("page.html.j2").render(page=page, columns=columns, cells=cells)
    write_whole(path, text.encode())
