"""The health of thoughts."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from latentcot.analysis.health import ThoughtHealth
from latentcot.report.plots.style import BLUE, GREEN, GREY, INK, PINK, blank, decimals, plain


def draw_health(thoughts: Sequence[ThoughtHealth]) -> Figure:
    """Size, likeness, entropy and gradient of each thought, a panel each."""
    figure = blank(8.4, 6.2)
    (size, alike), (entropy, gradient) = figure.subplots(2, 2)
    x = [one.thought for one in thoughts]
    series = (
        (size, [one.norm_ratio for one in thoughts], BLUE, "size (token embeddings are 1)"),
        (entropy, [one.entropy for one in thoughts], GREEN, "entropy of the decoded token, nats"),
        (gradient, [one.gradient for one in thoughts], PINK, "gradient of the answer's loss"),
    )
    for panel, y, color, label in series:
        panel.plot(x, y, color=color, marker="o")
        panel.set(xlabel="thought", ylabel=label, xticks=x)
        panel.set_ylim(bottom=0, top=1.1 * max(*y, 1e-12))
        plain(panel)
    size.axhline(1, color=GREY, linestyle=":", linewidth=1)
    alike.imshow([one.cosines for one in thoughts], cmap=colormaps["PuOr"], vmin=-1, vmax=1)
    for row, one in enumerate(thoughts):
        for column, cosine in enumerate(one.cosines):
            alike.text(
                column, row, decimals(cosine), ha="center", va="center", fontsize=8,
                color="white" if abs(cosine) > 0.7 else INK,
            )  # fmt: skip
    alike.set_xticks(range(len(x)), [str(number) for number in x])
    alike.set_yticks(range(len(x)), [str(number) for number in x])
    alike.set(xlabel="thought", ylabel="thought", title="cosine similarity within a question")
    alike.title.set_fontsize(10)
    return figure
