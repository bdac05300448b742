"""How the search goes over a set: how parallel it is, and what the height of a node does."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentcot.analysis.height import Definition, NodeHeight
from latentcot.analysis.parallelism import Percentile
from latentcot.report.plots.style import BLUE, GREY, ORANGE, PALE, SKY, blank, plain, thoughts_label


def draw_parallelism(points: Sequence[Percentile]) -> Figure:
    """The value of the best one, two and three candidates together against the percentile, a panel for each thought."""
    numbers = sorted({point.thoughts for point in points})
    figure = blank(1 + 3.2 * len(numbers), 3.2)
    panels = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
    for panel, number in zip(panels, numbers, strict=True):
        curve = [point for point in points if point.thoughts == number]
        x = [point.percentile for point in curve]
        below = [0.0] * len(curve)
        for name, color in (("top1", BLUE), ("top2", SKY), ("top3", PALE)):
            heights = [getattr(point, name) for point in curve]
            panel.fill_between(x, below, heights, color=color, linewidth=0)
            panel.plot(x, heights, color=color, label=f"best {name[-1]}" if name != "top1" else "best")
            below = heights
        panel.set(title=f"after {thoughts_label(number)}", xlabel="percentile of the questions", xlim=(0, 100))
        panel.set_ylim(0, 1.02)
        plain(panel)
    panels[0].set_ylabel("value together")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def draw_heights(nodes: Sequence[NodeHeight], definition: Definition) -> Figure:
    """The value of correct and of incorrect nodes against their height, means with 95% intervals, a panel a thought."""
    numbers = sorted({node.thoughts for node in nodes})
    figure = blank(1.4 + 3.2 * len(numbers), 3.4)
    panels = figure.subplots(1, len(numbers), squeeze=False, sharey=True)[0]
    heights = sorted({node.height for node in nodes})
    for panel, number in zip(panels, numbers, strict=True):
        for correct, color, marker, aside in ((True, BLUE, "o", -0.08), (False, ORANGE, "s", 0.08)):
            _draw_means(
                panel, [n for n in nodes if n.thoughts == number and n.correct is correct], color, marker, aside
            )
        panel.set(title=f"after {thoughts_label(number)}", xlabel=f"height ({definition} way to a leaf)")
        panel.set(xticks=heights, xlim=(heights[0] - 0.5, heights[-1] + 0.5), ylim=(-0.02, 1.02))
        plain(panel)
    panels[0].set_ylabel("value")
    panels[0].plot([], [], color=BLUE, marker="o", label="leads to the target")
    panels[0].plot([], [], color=ORANGE, marker="s", label="does not")
    panels[0].plot([], [], color=GREY, marker=".", linestyle="none", alpha=0.5, label="one node")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure


def _draw_means(panel: Axes, nodes: Sequence[NodeHeight], color: str, marker: str, aside: float) -> None:
    """Every node as a dot, and the mean at each height; `aside` sets two series apart."""
    panel.plot(
        [n.height + 2.5 * aside for n in nodes], [n.value for n in nodes], ".", color=color, alpha=0.25, markersize=4
    )
    heights = sorted({node.height for node in nodes})
    at = [[node.value for node in nodes if node.height == height] for height in heights]
    spread = [1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0 for values in at]
    panel.errorbar(
        [height + aside for height in heights], [fmean(values) for values in at], yerr=spread, color=color,
        marker=marker, capsize=3, linewidth=1.2,
    )  # fmt: skip
