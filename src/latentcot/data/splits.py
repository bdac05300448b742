"""Train, validation and test sets of generated questions that share nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping

from latentcot.core import Example, UserError

Draw = Callable[[random.Random], tuple[Hashable, Example]]
"""Draws one question, with a key that is the same for questions that must not stand in two splits."""

PATIENCE = 1000
"""A task counts as used up after so many draws in a row without a new key."""


def split(sizes: Mapping[str, int], draw: Draw, seed: int) -> dict[str, list[Example]]:
    """Draw `sizes[name]` questions for each split, no key twice; UserError where the task has too few.

    Each split has a random stream of its own, and `train` is drawn last: the others do not change with its
    size, and a smaller train set is the beginning of a larger one.
    """
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name} is {size}: ask for 1 question or more")
    seen: set[Hashable] = set()
    made: dict[str, list[Example]] = {}
    for name in sorted(sizes, key=lambda name: (name == "train", name)):
        rng = random.Random(f"{name} {seed}")
        made[name] = []
        while len(made[name]) < sizes[name]:
            example = _fresh(draw, rng, seen)
            if example is None:
                raise UserError(
                    f"{name}: only {len(made[name])} of {sizes[name]} questions are new with seed {seed}: "
                    "ask for fewer, or widen the task's options"
                )
            made[name].append(example)
    return {name: made[name] for name in sizes}


def _fresh(draw: Draw, rng: random.Random, seen: set[Hashable]) -> Example | None:
    """A question whose key is not in `seen`, where it is then put; None when patience is over."""
    for _ in range(PATIENCE):
        key, example = draw(rng)
        if key not in seen:
            seen.add(key)
            return example
    return None
