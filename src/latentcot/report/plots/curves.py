"""Figures as SVG text, for a page that needs no network."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure


def learning_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Loss and validation accuracy against updates, a column for each row of the table, stage changes marked.

    `logs` holds the entries of each run's log.jsonl.
    """
    figure, axes = pyplot.subplots(
        2, len(logs), figsize=(4 * len(logs), 4.6), squeeze=False, sharey="row", layout="constrained"
    )
    for column, (name, log) in enumerate(logs.items()):
        loss = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        accuracy = [(entry["step"], 100 * entry["eval_accuracy"]) for entry in log if "eval_accuracy" in entry]
        axes[0, column].plot(*zip(*loss, strict=True), color="#8a5a00", linewidth=1)
        axes[0, column].set(title=name, yscale="log")
        axes[1, column].plot(*zip(*accuracy, strict=True), color="#00558a", marker="o", markersize=3)
        axes[1, column].set(xlabel="updates", ylim=(-2, 102))
        _mark_stages(axes[:, column], log)
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("accuracy on validation, %")
    return _svg(figure)


def _mark_stages(axes: Iterable[Any], log: Sequence[Mapping[str, Any]]) -> None:
    """A dotted line where a stage begins, with its number."""
    axes, begun, before = list(axes), {0: 0}, 0
    for entry in log:
        begun.setdefault(entry["stage"], before)
        before = entry["step"]
    if len(begun) == 1:
        return
    for stage, step in begun.items():
        for axis in axes:
            axis.axvline(step, color="#999999", linestyle=":", linewidth=1)
        axes[0].annotate(
            f"stage {stage}", (step, 1), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            fontsize=7, rotation=90, va="top",
        )  # fmt: skip


def thought_bars(values: Sequence[Sequence[float]], candidates: Sequence[str], path: Sequence[str]) -> str:
    """The value of every candidate after 0, 1, 2, ... thoughts, one panel each.

    `path` names the candidate that is right after each number of thoughts; its bar is dark.
    """
    figure, axes = pyplot.subplots(
        1, len(values), figsize=(2.3 * len(values), 2.4), squeeze=False, sharey=True, layout="constrained"
    )
    for number, (axis, heights) in enumerate(zip(axes[0], values, strict=True)):
        right = path[min(number, len(path) - 1)]
        axis.bar(candidates, heights, color=["#00558a" if name == right else "#b9cfdd" for name in candidates])
        axis.set(title=f"{number} thought{'' if number == 1 else 's'}", ylim=(0, 1.02))
    axes[0, 0].set_ylabel("value")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
