"""What a curriculum will do with a data set, before anything is trained: lengths and thoughts, stage by stage."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcot.checkpoint import start_tokenizer
from latentcot.config import RunConfig
from latentcot.core import Example, Stage
from latentcot.tokens import Markers, texts_of
from latentcot.training.samples import Samples, prepare

PERCENTILES = (50, 95, 100)


@dataclass(frozen=True)
class StageForecast:
    """A stage, the positions that its examples need, the tokens that carry loss, and who has run out of steps."""

    stage: Stage
    positions: list[int]
    """At each of `PERCENTILES`; prompt, thoughts, cue and target."""
    targets: float
    """Mean number of target tokens."""
    out_of_steps: float
    """Share of the examples with no step left to write."""


@dataclass(frozen=True)
class Forecast:
    """A data set in a model's tokens, and every stage of a run on it."""

    tokens: Mapping[str, list[int]]
    """Tokens of question, steps (together) and answer at each of `PERCENTILES`."""
    stages: Sequence[StageForecast]


def forecast(config: RunConfig, examples: Sequence[Example]) -> Forecast:
    """Lay every example out at every stage of `config`; UserError for a tokenizer that is not there or lacks a word."""
    tokenizer = start_tokenizer(config.model, texts_of(examples))
    samples = prepare(examples, tokenizer)
    chains, questions = samples.chains(), samples.questions()
    answers = samples.lengths() - questions - chains
    tokens = {"question": _percentiles(questions), "steps": _percentiles(chains), "answer": _percentiles(answers)}
    plan = config.method.plan(config.curriculum, int(chains.max()))
    return Forecast(tokens, [_stage(config, samples, stage) for stage in plan])


def render(found: Forecast) -> str:
    """The forecast for a terminal."""
    heads = "".join(f"{f'{percent}%' if percent < 100 else 'max':>9}" for percent in PERCENTILES)
    lines = [f"  {'tokens':<16}{heads}"]
    lines += [f"  {part:<16}" + "".join(f"{value:>9}" for value in values) for part, values in found.tokens.items()]
    lines.append(f"  {'stage':<7}{'epochs':>9}{'thoughts':>10}{heads} positions{'targets':>10}{'no step left':>14}")
    for number, one in enumerate(found.stages):
        columns = "".join(f"{value:>9}" for value in one.positions)
        lines.append(
            f"  {number:<7}{one.stage.epochs:>9}{one.stage.thoughts:>10}{columns}{'':10}"
            f"{one.targets:>10.1f}{one.out_of_steps:>14.1%}"
        )
    return "\n".join(lines)


def _stage(config: RunConfig, samples: Samples, stage: Stage) -> StageForecast:
    markers, rng = Markers(0, 0, 0), random.Random(0)
    positions, targets, ended = [], [], 0
    for sample in samples:
        layout = config.method.layout(sample, stage, markers, rng)
        positions.append(len(layout))
        targets.append(len(layout.target))
        ended += layout.target == sample.answer
    return StageForecast(stage, _percentiles(positions), float(np.mean(targets)), ended / len(samples))


def _percentiles(values: Sequence[int] | NDArray[np.int64]) -> list[int]:
    """By nearest rank: the smallest value that at least so many percent of the values do not exceed."""
    return [
        int(value) for value in np.percentile(np.asarray(values, dtype=np.int64), PERCENTILES, method="inverted_cdf")
    ]
