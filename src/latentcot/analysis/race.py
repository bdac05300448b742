"""The race of the candidates: how the right ones fare against the others, thought after thought, over a set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from latentcot.analysis.values import Value


@dataclass(frozen=True)
class Standing:
    """Where the race stands after so many thoughts, as means over the questions.

    `right` is the value of the right candidates together, `rival` that of the best other one, `rest` that of all
    others together. `led` is the share of questions whose best candidate is right.
    """

    thoughts: int
    right: float
    rival: float
    rest: float
    led: float


def standings(values: Sequence[Value]) -> list[Standing]:
    """The standing after each number of thoughts that `values` has."""
    races: dict[int, dict[int, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for value in values:
        races[value.thoughts][value.index].append(value)
    return [_standing(number, list(races[number].values())) for number in sorted(races)]


def _standing(thoughts: int, races: Sequence[Sequence[Value]]) -> Standing:
    right = [sum(value.value for value in race if value.right) for race in races]
    wrong = [[value.value for value in race if not value.right] for race in races]
    best = [max(race, key=lambda value: value.value) for race in races]
    return Standing(
        thoughts,
        right=fmean(right),
        rival=fmean(max(values, default=0.0) for values in wrong),
        rest=fmean(sum(values) - max(values, default=0.0) for values in wrong),
        led=fmean(value.right for value in best),
    )
