"""Finished runs beside each other: accuracy against tokens, and against thoughts per step (c in the paper)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latentcot.core import UserError


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
    result = read_part(run, "result.json")
    config = read_part(run, "config.yaml")
    best = result["best"]
    if not best:
        raise UserError(f"{run}: has no validated checkpoint of its last stage: train it with data.valid to the end")
    per_step = config["curriculum"]["thoughts_per_step"]
    numbers = (best[name] for name in ("thoughts", "tokens", "accuracy"))
    return Finished(str(run), result["row"], result["seed"], per_step, *numbers)


def read_part(run: Path, name: str) -> dict[str, Any]:
    """A run's config.yaml or result.json; UserError if the run has none, or it is damaged."""
    file = run / name
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    except OSError as error:
        raise UserError(f"{run}: no finished run there ({name} is missing): give a run's folder") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{file}: cannot be read ({' '.join(str(error).split())}): copy or train the run again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no mapping: copy or train the run again")
    return content
