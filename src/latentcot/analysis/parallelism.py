"""How many candidates a thought keeps open at once (section 5 of the paper, "parallelism").

The values of the best one, two and three candidates together, over the questions of a set. Where the curves lie apart
the thought holds several candidates; where they meet it has settled on one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from latentcot.analysis.values import Value


@dataclass(frozen=True)
class Percentile:
    """A point of the curves, each of which is sorted by itself: so many percent of the questions lie lower."""

    thoughts: int
    percentile: float
    top1: float
    top2: float
    top3: float


def parallelism(values: Sequence[Value]) -> list[Percentile]:
    """The curves after each number of thoughts that `values` has, a point for each question."""
    questions: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value in values:
        questions[value.thoughts][value.index].append(value.value)
    points = []
    for number in sorted(questions):
        curves = zip(*(_cumulative(found) for found in questions[number].values()), strict=True)
        columns = zip(*(sorted(curve) for curve in curves), strict=True)
        last = max(len(questions[number]) - 1, 1)
        points += [Percentile(number, 100 * place / last, *tops) for place, tops in enumerate(columns)]
    return points


def _cumulative(values: Sequence[float]) -> list[float]:
    """The values of the best one, two and three together."""
    best = sorted(values, reverse=True)[:3]
    return list(accumulate(best + [0.0] * (3 - len(best))))
