"""Accuracy against something: the number of thoughts, an intervention, the tokens of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentcot.analysis.faithfulness import Replaced
from latentcot.analysis.interpolation import Forced
from latentcot.analysis.sweep import Finished
from latentcot.report.plots import style
from latentcot.report.plots.style import BLUE, GREY, INK, ORANGE, PALE, blank, plain

OUTCOMES = {
    "correct_path": (BLUE, "Correct Path"),
    "longer_path": (style.SKY, "Longer Path"),
    "hallucination": (style.VERMILION, "Hallucination"),
    "wrong_target": (ORANGE, "Wrong Target"),
    "correct_label": (style.GREEN, "Correct Label"),
    "incorrect_label": (style.LIGHT, "Incorrect Label"),
}
"""Colour and name of each outcome class, in the paper's order."""


def draw_interpolation(forced: Sequence[Forced]) -> Figure:
    """Accuracy with 95% intervals against the forced number of thoughts; with graphs, the outcome classes beside it."""
    classes = bool(forced[0].outcomes)
    figure = blank(8.6 if classes else 4.2, 3.4)
    panels = figure.subplots(1, 1 + classes, squeeze=False)[0]
    x, y = [one.thoughts for one in forced], [100 * one.accuracy for one in forced]
    ends = [[100 * (one.accuracy - one.low) for one in forced], [100 * (one.high - one.accuracy) for one in forced]]
    panels[0].errorbar(x, y, yerr=ends, color=BLUE, marker="o", capsize=3)
    panels[0].set(xlabel="thoughts", ylabel="accuracy, %", xticks=x, ylim=(-2, 102))
    plain(panels[0])
    if classes:
        _stack(panels[1], forced)
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def _stack(panel: Axes, forced: Sequence[Forced]) -> None:
    x, below = [one.thoughts for one in forced], [0.0] * len(forced)
    for name, (color, label) in OUTCOMES.items():
        shares = [100 * one.outcomes[name] for one in forced]
        panel.bar(x, shares, bottom=below, color=color, label=label, edgecolor="white", linewidth=0.5)
        below = [total + share for total, share in zip(below, shares, strict=True)]
    panel.set(xlabel="thoughts", ylabel="answers, %", xticks=x, ylim=(0, 100))
    plain(panel)


def draw_faithfulness(replaced: Sequence[Replaced]) -> Figure:
    """Accuracy with 95% intervals under each intervention, and the share of answers that it leaves unchanged."""
    figure = blank(6.8, 1.2 + 0.42 * len(replaced))
    axes = figure.subplots()
    rows = range(len(replaced))
    accuracy = [100 * one.accuracy for one in replaced]
    ends = [
        [100 * (one.accuracy - one.low) for one in replaced], [100 * (one.high - one.accuracy) for one in replaced],
    ]  # fmt: skip
    axes.barh(
        rows, accuracy, xerr=ends, height=0.5, label="accuracy, 95% interval", ecolor=INK, capsize=3,
        color=[BLUE if one.intervention == "none" else PALE for one in replaced],
    )  # fmt: skip
    axes.plot(
        [100 * one.unchanged for one in replaced], [row + 0.36 for row in rows], "D", markersize=4, color=ORANGE,
        markeredgecolor=INK, clip_on=False, label="answers unchanged", zorder=3,
    )  # fmt: skip
    names = ["thoughts as they are" if one.intervention == "none" else one.intervention for one in replaced]
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set(xlabel="questions, %", xlim=(0, 100))
    plain(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def draw_sweep(runs: Sequence[Finished]) -> Figure:
    """Accuracy against tokens, a point for each run; and against thoughts per step where they differ (means)."""
    thinking = [run for run in runs if run.thoughts]
    swept = len({run.thoughts_per_step for run in thinking}) > 1
    figure = blank(9 if swept else 5.4, 3.6)
    panels = figure.subplots(1, 1 + swept, squeeze=False, sharey=True)[0]
    for number, row in enumerate(dict.fromkeys(run.row for run in runs)):
        of_row = [run for run in runs if run.row == row]
        color, mark = style.SERIES[number % len(style.SERIES)], style.MARKS[number % len(style.MARKS)]
        y = [100 * run.accuracy for run in of_row]
        panels[0].plot([run.tokens for run in of_row], y, mark, color=color, label=row, alpha=0.85)
        if swept:
            _sweep(panels[1], [run for run in of_row if run.thoughts], color, mark)
    panels[0].set(xlabel="tokens written and thought", ylabel="accuracy on validation, %", ylim=(-2, 102))
    panels[0].set_xlim(left=0)
    for panel in panels:
        plain(panel)
    if swept:
        panels[1].set(xlabel="thoughts per step (c)", xticks=sorted({run.thoughts_per_step for run in thinking}))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def _sweep(panel: Axes, runs: Sequence[Finished], color: str, mark: str) -> None:
    """Every run as a point, the means joined."""
    steps = sorted({run.thoughts_per_step for run in runs})
    panel.plot(
        [run.thoughts_per_step for run in runs], [100 * run.accuracy for run in runs], mark, color=GREY, alpha=0.5
    )
    means = [fmean(100 * run.accuracy for run in runs if run.thoughts_per_step == step) for step in steps]
    panel.plot(steps, means, color=color, marker=mark)
