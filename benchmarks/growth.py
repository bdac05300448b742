"""How the cost of thinking grows with thoughts, batch, prompt and model.

    python -m benchmarks.growth --out benchmarks/results/growth-cpu

writes growth.json, .csv, .png and .svg there. The same command goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import set_seed

from benchmarks.parts import Parts, command
from latentcot.bench import timing
from latentcot.bench.floor import Sizes
from latentcot.bench.models import build
from latentcot.bench.run import STEPS, Setting, measure_thoughts, measure_updates, require_positions
from latentcot.bench.timing import Precision
from latentcot.config import Scratch
from latentcot.core import UserError
from latentcot.files import write_whole
from latentcot.report.plots.style import BLUE, GREEN, GREY, ORANGE, PINK, blank, plain, png, svg
from latentcot.report.write import table


@dataclass(frozen=True)
class Factors:
    """The values of each factor."""

    thoughts: tuple[int, ...] = (0, 1, 2, 3, 4, 6, 8, 10, 12)
    batch: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    prompt: tuple[int, ...] = (32, 64, 128, 256, 512)
    model: tuple[str, ...] = ("4x256", "6x512", "12x768", "16x1024")
    """Layers x width, of GPT-2's architecture with heads of 64 (of the whole width where that is less)."""


@dataclass(frozen=True)
class Base:
    """What each factor is while another one is varied."""

    thoughts: int = 6
    batch: int = 8
    prompt: int = 128
    model: str = "12x768"
    target: int = 12

    @property
    def sizes(self) -> Sizes:
        """Of the batch."""
        return Sizes(self.batch, self.prompt, self.thoughts, self.target)

    @property
    def scratch(self) -> Scratch:
        """The model; UserError if it is not layers x width."""
        layers, _, width = self.model.partition("x")
        if not (layers.isdecimal() and width.isdecimal()):
            raise UserError(f"--vary.model, --base.model: {self.model!r} is not layers x width: give 12x768, say")
        return Scratch(layers=int(layers), heads=max(int(width) // 64, 1), width=int(width))


def growth(
    out: Path,
    vary: Factors = Factors(),
    base: Base = Base(),
    precision: Precision = "fp32",
    repeats: int = 5,
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """Measure an update, a thought and what stands beside them at every value of every factor; write four files to OUT.

    Args:
        out: Folder of the results.
        vary: The values of each factor.
        base: What each factor is while another one is varied.
        precision: fp32, or bf16 (autocast over fp32 weights).
        repeats: Measurements that medians are taken of.
        threads: Of the processor (default: PyTorch's choice).
        seed: Of tokens and weights.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    setting = {"precision": precision, "repeats": repeats, "seed": seed}
    parts = Parts(out / "growth.json", setting)
    rows = []
    for factor, at in points(vary, base):
        # One thought is the mean of an update's own where their number is what varies.
        steps = at.thoughts if factor == "thoughts" else STEPS
        name = ", ".join(f"{key} {value}" for key, value in asdict(at).items()) + f", steps {steps}"
        seconds = parts.get(name, partial(measure, at, steps, precision, repeats, seed))
        rows.append({"factor": factor, **asdict(at), **summary(seconds)})
    write_whole(out / "growth.csv", table(rows).encode())
    figure = draw(rows)
    write_whole(out / "growth.png", png(figure))
    write_whole(out / "growth.svg", svg(figure).encode())


def points(vary: Factors, base: Base) -> Iterator[tuple[str, Base]]:
    """Every value of every factor, with the others as in `base`."""
    for factor, values in asdict(vary).items():
        for value in values:
            yield factor, replace(base, **{factor: value})


def measure(at: Base, steps: int, precision: Precision, repeats: int, seed: int) -> dict[str, list[float]]:
    """Seconds, one a repeat, of both updates, and of a thought and a token where there are steps."""
    setting = Setting(at.sizes, at.prompt, precision, repeats, seed)
    set_seed(seed)
    model = build(None, at.scratch)
    require_positions(model, {"--vary.prompt": max(at.sizes.columns, at.prompt + steps + 1)})
    return {**measure_updates(model, setting), **(measure_thoughts(model, setting, steps) if steps else {})}


def summary(seconds: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """Medians and ratios of one point."""
    thinks = "thought" in seconds
    return {
        **{f"{name}_seconds": median(seconds[name]) for name in ("coconut", "ordinary")},
        "update_ratio": timing.ratio(seconds["coconut"], seconds["ordinary"]),
        **{f"{name}_seconds": median(seconds[name]) if thinks else None for name in ("thought", "token")},
        "thought_ratio": timing.ratio(seconds["thought"], seconds["token"]) if thinks else None,
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A column for each factor: seconds of the updates above, the two ratios below."""
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    figure = blank(3.1 * len(factors), 5)
    panels = figure.subplots(2, len(factors), squeeze=False, sharey="row", sharex="col")
    for (above, below), factor in zip(panels.T, factors, strict=True):
        of_factor = [row for row in rows if row["factor"] == factor]
        updates = {"coconut_seconds": "Coconut update", "ordinary_seconds": "ordinary update"}
        _lines(above, of_factor, updates, (BLUE, ORANGE))
        above.set_yscale("log")
        _lines(below, of_factor, {"update_ratio": "update_ratio", "thought_ratio": "thought_ratio"}, (GREEN, PINK))
        below.axhline(1, color=GREY, linewidth=1, linestyle=":")
        below.set_xlabel("model, layers x width" if factor == "model" else factor)
    panels[1, 0].set_ylim(bottom=0)  # Of all that share it, so after the last of them.
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("ratio")
    for row in panels:
        row[-1].legend(frameon=False, fontsize=8)
    return figure


def _lines(panel: Axes, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], colors: Sequence[str]) -> None:
    """The values are evenly spaced, since most factors double from one to the next."""
    for (column, label), color, mark in zip(columns.items(), colors, "os", strict=True):
        y = [float("nan") if row[column] is None else row[column] for row in rows]
        panel.plot(range(len(rows)), y, color=color, marker=mark, label=label)
    panel.set_xticks(range(len(rows)), [str(row[row["factor"]]) for row in rows], fontsize=8)
    plain(panel)


if __name__ == "__main__":
    command(growth)
