"""One model between writing its steps and thinking them: the answers at each forced number of thoughts (section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example
from latentcot.evaluation.answers import evaluate
from latentcot.evaluation.statistics import wilson


@dataclass(frozen=True)
class Forced:
    """How a set is answered at a forced number of thoughts. `low` and `high` are the accuracy's 95% interval."""

    thoughts: int
    n: int
    accuracy: float
    low: float
    high: float
    tokens: float
    outcomes: dict[str, float]
    """Share of each of the six outcome classes; {} where the questions have no graphs."""


def interpolation(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: Iterable[int], *, batch_size: int = 64
) -> list[Forced]:
    """Answer every example at each number of thoughts. Without stage mixing in training, few of them do well."""
    found = []
    for number in thoughts:
        metrics = evaluate(checkpoint, examples, thoughts=number, batch_size=batch_size).metrics()
        n, accuracy = metrics["n"], metrics["accuracy"]
        interval = wilson(round(accuracy * n), n)
        found.append(Forced(number, n, accuracy, *interval, metrics["tokens"], metrics.get("outcomes", {})))
    return found
