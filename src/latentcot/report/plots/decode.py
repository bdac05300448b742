"""Thoughts read as tokens."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latentcot.analysis.decode import Token
from latentcot.report.plots.style import INK, blank, decimals, printable

SHADES = colormaps["Blues"]


def draw_decode(tokens: Sequence[Token]) -> Figure:
    """The best tokens of each thought by the LM head, by nearest embedding, and the best one layer by layer.

    `tokens` are of one question, or means; a column is a thought, and darker cells have higher scores.
    """
    thoughts = max(token.thought for token in tokens)
    ranks, layers = max(token.rank for token in tokens), max(token.layer for token in tokens)
    views = [view for view in ("head", "nearest", "layer") if any(token.view == view for token in tokens)]
    high = {"head": ranks, "nearest": ranks, "layer": layers + 1}
    figure = blank(1.6 + 1.05 * thoughts, sum(0.9 + 0.27 * high[view] for view in views))
    panels = figure.subplots(len(views), 1, squeeze=False, height_ratios=[2 + high[view] for view in views])[:, 0]
    titles = {
        "head": "LM head: what it would say (probability)",
        "nearest": "nearest token embeddings (cosine)",
        "layer": "LM head on each layer: its first choice (probability)",
    }
    for panel, view in zip(panels, views, strict=True):
        shown = [token for token in tokens if token.view == view and (view != "layer" or token.rank == 1)]
        _cells(panel, shown, thoughts, by_layer=view == "layer")
        panel.set_title(titles[view], fontsize=10)
    panels[-1].set_xlabel("thought")
    return figure


def _cells(panel: Axes, tokens: Sequence[Token], thoughts: int, by_layer: bool) -> None:
    rows = sorted({token.layer if by_layer else token.rank for token in tokens}, reverse=by_layer)
    table = [[0.0] * thoughts for _ in rows]
    for token in tokens:
        y, x = rows.index(token.layer if by_layer else token.rank), token.thought - 1
        table[y][x] = token.score
        panel.text(
            x, y, f"{_short(token.token)}  {decimals(token.score)}", ha="center", va="center", fontsize=7.5,
            color="white" if token.score > 0.55 else INK, parse_math=False,
        )  # fmt: skip
    panel.imshow(table, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    panel.set_xticks(range(thoughts), [str(number + 1) for number in range(thoughts)])
    panel.set_yticks(range(len(rows)), [str(row) for row in rows], fontsize=8)
    panel.set_ylabel("layer" if by_layer else "rank")


def _short(token: str) -> str:
    text = printable(token)
    return text if len(text) <= 11 else f"{text[:10]}…"
