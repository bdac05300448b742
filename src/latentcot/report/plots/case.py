"""A case study: what was written for one question, column by column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from latentcot.analysis.case import Answered
from latentcot.core import Example
from latentcot.data.graph import Graph, graph_of, has_graph
from latentcot.report.plots.style import BLUE, INK, VERMILION, blank, thoughts_label
from latentcot.tokens import ANSWER_MARK

WIDTH = 27
"""Characters in a line of a column."""

LINE = 0.2
"""Inches."""


def draw_case(answers: Sequence[Answered], example: Example) -> Figure:
    """The answers side by side under question and gold chain; a line that the graph does not have is marked."""
    graph = graph_of(example) if has_graph(example) else None
    thinkers = {one.row for one in answers if one.thoughts}
    columns = [_column(one, graph, one.row in thinkers) for one in answers]
    across = WIDTH * len(answers)
    head = [
        *textwrap.wrap(f"Question: … {example.question.split('. ')[-1]}", across),
        *textwrap.wrap(f"Right: {' '.join(example.steps)} {ANSWER_MARK} {example.answer}", across),
    ]
    deep = len(head) + 1 + max(map(len, columns))
    figure = blank(2.2 * len(answers), LINE * (deep + 1))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, len(answers)), ylim=(deep, 0))
    for y, line in enumerate(head):
        axes.text(0, y, line, fontsize=8, color=INK, va="top", parse_math=False)
    for x, column in enumerate(columns):
        for y, (line, color, weight) in enumerate(column, len(head) + 1):
            axes.text(x, y, line, fontsize=8, color=color, weight=weight, va="top", parse_math=False)
    return figure


def _column(one: Answered, graph: Graph | None, thinks: bool) -> list[tuple[str, str, str]]:
    """Title, written lines and verdict, each with its colour and weight."""
    lines = [(f"{one.row}, {thoughts_label(one.thoughts)}" if thinks else one.row, INK, "bold")]
    for written in one.text.splitlines():
        step = bool(written.strip()) and not written.startswith(ANSWER_MARK)
        faulty = graph is not None and step and not graph.follow([written.strip()])
        for piece in textwrap.wrap(f"✗ {written}" if faulty else written, WIDTH, subsequent_indent="   "):
            lines.append((piece, VERMILION if faulty else INK, "normal"))
    verdict = ("right" if one.correct else "wrong") + (f": {one.outcome.replace('_', ' ')}" if one.outcome else "")
    return [*lines, (verdict, BLUE if one.correct else VERMILION, "bold")]
