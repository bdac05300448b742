"""Learning curves of runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from latentcot.report.plots.style import BLUE, blank


def learning_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and validation accuracy against updates, a column for each row of the table, stage changes marked.

    `logs` holds the entries of each run's log.jsonl.
    """
    figure = blank(max(4 * len(logs), 6), 4.6)
    axes = figure.subplots(2, len(logs), squeeze=False, sharey="row")
    for column, (name, log) in enumerate(logs.items()):
        loss = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        accuracy = [(entry["step"], 100 * entry["eval_accuracy"]) for entry in log if "eval_accuracy" in entry]
        axes[0, column].plot(*zip(*loss, strict=True), color="#8a5a00", linewidth=1)
        axes[0, column].set(title=name, yscale="log")
        axes[1, column].plot(*zip(*accuracy, strict=True), color=BLUE, marker="o", markersize=3)
        axes[1, column].set(xlabel="updates", ylim=(-2, 102))
        _mark_stages(axes[:, column], log)
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("accuracy on validation, %")
    return figure


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
