"""The one-file HTML report: a table, figures and one question, with no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup


@dataclass(frozen=True)
class Question:
    """One question and what the model holds for it after each thought."""

    text: str
    steps: Sequence[str]
    answer: str
    written: str
    bars: str
    """An SVG figure."""


def write_page(
    path: Path,
    title: str,
    rows: Mapping[str, Mapping[str, Any]],
    curves: str,
    question: Question,
    facts: Mapping[str, Any],
) -> None:
    """Write the report. `rows` is the table, `curves` an SVG figure, `facts` what was run and on what."""
    environment = Environment(loader=PackageLoader("latentcot.report", "."), autoescape=select_autoescape(default=True))
    page = environment.get_template("page.html.j2").render(
        title=title, rows=rows, curves=Markup(curves), question=question, bars=Markup(question.bars), facts=facts
    )
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
