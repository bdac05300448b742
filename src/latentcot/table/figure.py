"""A table as a figure: accuracy of every row with its interval, the paper's beside, one panel for each data set."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from latentcot.table.results import Entry


def draw(entries: Sequence[Entry]) -> dict[str, bytes]:
    """The figure as the contents of table.png and table.svg. `entries` are in order of data set, then row."""
    datasets = list(dict.fromkeys(entry.dataset for entry in entries))
    rows = list(dict.fromkeys(entry.row for entry in entries))
    figure, axes = pyplot.subplots(
        1, max(len(datasets), 1), figsize=(1.6 + 3.2 * max(len(datasets), 1), 1.2 + 0.34 * len(rows)),
        squeeze=False, sharey=True, layout="constrained",
    )  # fmt: skip
    for axis, dataset in zip(axes[0], datasets, strict=False):
        _panel(axis, [entry for entry in entries if entry.dataset == dataset], rows)
        axis.set(title=dataset, xlabel="accuracy, %", xlim=(-3, 106))
    if rows:
        axes[0, 0].set(yticks=range(len(rows)), yticklabels=[_label(row, entries) for row in rows])
        axes[0, 0].set_ylim(len(rows) - 0.4, -0.6)  # From above, with room for the marks.
        marks = {label: mark for axis in axes[0] for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=2, frameon=False)
    images = {}
    with matplotlib.rc_context({"svg.hashsalt": "latentcot"}):  # The same figures make the same file.
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
            images[f"table.{kind}"] = buffer.getvalue()
    pyplot.close(figure)
    return images


def _label(row: str, entries: Sequence[Entry]) -> str:
    early = any(entry.row == row and not entry.reached_last_stage for entry in entries)
    return row.replace("_", " ") + " †" * early


def _panel(axis: Axes, entries: Sequence[Entry], rows: Sequence[str]) -> None:
    places = [rows.index(entry.row) for entry in entries]
    means = [100 * entry.accuracy for entry in entries]
    errors = [[m - 100 * e.interval[0] for m, e in zip(means, entries, strict=True)]]
    errors.append([100 * e.interval[1] - m for m, e in zip(means, entries, strict=True)])
    axis.errorbar(
        means, places, xerr=errors, fmt="o", color="#00558a", capsize=2.5, label="measured, 95% interval", zorder=3
    )  # fmt: skip
    paper = [(100 * e.published["accuracy"], place) for e, place in zip(entries, places, strict=True) if e.published]
    if paper:
        x, y = zip(*((x, place + 0.24) for x, place in paper), strict=True)  # Below the measured one.
        axis.scatter(x, y, s=22, marker="D", facecolors="none", edgecolors="#b35900", label="published (GPT-2)")
    axis.grid(axis="x", color="#dddddd", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
