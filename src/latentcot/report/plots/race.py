"""The race of the candidates: of one question, and of a set."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentcot.analysis.race import Standing
from latentcot.analysis.values import Value
from latentcot.report.plots.style import BLUE, GREY, INK, ORANGE, PALE, blank, decimals, grid, plain, thoughts_label

SHOWN = 8
"""Candidates in a panel: the best ones."""

COLUMNS = 4


def draw_race(values: Sequence[Value]) -> Figure:
    """The best candidates of one question after each number of thoughts, a panel each; right ones are dark."""
    numbers = sorted({value.thoughts for value in values})
    rows, columns = grid(len(numbers), COLUMNS)
    shown = min(SHOWN, max(sum(value.thoughts == number for value in values) for number in numbers))
    figure = blank(2.5 * columns, rows * (0.9 + 0.2 * shown))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, number in zip(panels, numbers, strict=False):
        field = sorted((v for v in values if v.thoughts == number), key=lambda value: -value.value)[:SHOWN]
        bars = panel.barh(range(len(field)), [v.value for v in field], color=[BLUE if v.right else PALE for v in field])
        panel.bar_label(bars, [decimals(v.value) for v in field], padding=2, fontsize=8, color=INK)
        panel.set_yticks(range(len(field)), [v.name for v in field], fontsize=8, parse_math=False)
        panel.set(title=thoughts_label(number), xlim=(0, 1.2), ylim=(shown - 0.4, -0.6), xticks=[0, 0.5, 1])
        panel.set_xlabel("value", fontsize=8)
        plain(panel)
    for panel in list(figure.axes)[len(numbers) :]:
        panel.set_visible(False)
    return figure


def draw_standings(standings: Sequence[Standing]) -> Figure:
    """Over a set: the value of right candidates, of their best rival and of the rest, how often one leads."""
    figure = blank(6, 3.4)
    axes = figure.subplots()
    numbers = [standing.thoughts for standing in standings]
    axes.plot(numbers, [s.right for s in standings], color=BLUE, marker="o", label="right candidates")
    axes.plot(numbers, [s.rival for s in standings], color=ORANGE, marker="s", label="best other candidate")
    axes.plot(numbers, [s.rest for s in standings], color=GREY, marker="^", label="all the rest")
    axes.plot(
        numbers, [s.led for s in standings], color=INK, linestyle="--", marker="D", fillstyle="none",
        label="share of questions\nthat a right one leads",
    )  # fmt: skip
    axes.set(xlabel="thoughts", ylabel="mean value", ylim=(-0.02, 1.05), xticks=numbers)
    plain(axes)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure
