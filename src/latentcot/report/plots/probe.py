"""What linear probes read off thoughts."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from latentcot.analysis.probe import Probed
from latentcot.report.plots.style import BLUE, GREY, ORANGE, blank, plain


def draw_probe(probed: Sequence[Probed]) -> Figure:
    """Accuracy of the probes, of their control task and of the most frequent label, a panel for each fact."""
    facts = list(dict.fromkeys(one.fact for one in probed))
    figure = blank(1.5 + 2.7 * len(facts), 3.2)
    panels = figure.subplots(1, len(facts), squeeze=False, sharey=True)[0]
    for panel, fact in zip(panels, facts, strict=True):
        of_fact = [one for one in probed if one.fact == fact]
        x = [one.thought for one in of_fact]
        panel.plot(x, [100 * one.accuracy for one in of_fact], color=BLUE, marker="o", label="probe")
        panel.plot(x, [100 * one.control for one in of_fact], color=ORANGE, marker="s", label="control task")
        panel.plot(x, [100 * one.majority for one in of_fact], color=GREY, linestyle="--", label="most frequent label")
        panel.set_title(fact, fontsize=10)
        panel.set(xlabel="thought (k)", xticks=x, ylim=(-2, 102))
        plain(panel)
    panels[0].set_ylabel("accuracy on test questions, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    return figure
