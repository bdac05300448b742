"""Finished runs beside each other: accuracy against tokens, and against thoughts per step (c in the paper)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentcot.core import UserError
from latentcot.runs.records import read_config, read_result


@dataclass(frozen=True)
class Finished:
    """What a finished run reached on its validation set."""

    run: str
    row: str
    seed: int
    thoughts_per_step: int
    thoughts: float
    tokens: float
    accuracy: float


def finished(runs: Iterable[Path]) -> list[Finished]:
    """The runs' best checkpoints, in the order given. UserError if a folder holds no finished, validated run."""
    return [_finished(run) for run in runs]


def _finished(run: Path) -> Finished:
    result, config = read_result(run), read_config(run)
    best = result["best"]
    if not best:
        raise UserError(f"{run}: has no validated checkpoint of its last stage: train it with data.valid to the end")
    per_step = config["curriculum"]["thoughts_per_step"]
    numbers = (best[name] for name in ("thoughts", "tokens", "accuracy"))
    return Finished(str(run), result["row"], result["seed"], per_step, *numbers)
