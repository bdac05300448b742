"""Chains: follow the arrows of a permutation, a task that direct answering fails for want of depth.

    A C. F B. C F. B A. D E. E D. From B follow 3 arrows.
    Then B A. / Then A C. / Then C F.                      answer: F

The pairs are the arrows, each symbol has one that leaves it, and the last sentence asks. A model of two layers
looks one arrow up at a time, so it needs a written step or a thought for each.

What makes it learnable within minutes: the two ends of an arrow stand side by side; the number of arrows varies
(with chains of one length the last stage, where all text goes, is not learned); and a step opens with a word, so
that a symbol is read off the thoughts in the same way for the next step and for the answer.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

from latentcot.core import Example, UserError

SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def make_splits(
    sizes: Mapping[str, int], seed: int, *, symbols: int = 6, hops: tuple[int, int] = (1, 4)
) -> dict[str, list[Example]]:
    """`sizes[name]` questions for each split; no permutation of one split occurs in another.

    `symbols` is how many the arrows join and `hops` the shortest and the longest chain. A split has a random stream
    of its own, so it does not change with the sizes of the others. UserError for impossible sizes.
    """
    if not 3 <= symbols <= len(SYMBOLS):
        raise UserError(f"symbols is {symbols}: give 3 to {len(SYMBOLS)}")
    if not 1 <= hops[0] <= hops[1]:
        raise UserError(f"hops is {hops[0]} to {hops[1]}: give at least 1, the shortest first")
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name} is {size}: ask for 1 question or more")
    return {name: _split(name, list(sizes), size, seed, symbols, hops) for name, size in sizes.items()}


def _split(name: str, names: list[str], size: int, seed: int, symbols: int, hops: tuple[int, int]) -> list[Example]:
    rng = random.Random(f"{name} {seed}")
    examples: list[Example] = []
    while len(examples) < size:
        arrows = _permutation(rng, symbols)
        if _owner("".join(arrows.values()), names, seed) == name:
            examples.append(_question(rng, arrows, hops))
    return examples


def _owner(permutation: str, names: list[str], seed: int) -> str:
    """The split that a permutation belongs to: of ten, eight go to the largest part, the first of the names."""
    rng = random.Random(f"{permutation} {seed}")
    return names[0] if rng.random() < 0.8 else rng.choice(names[1:] or names)


def _permutation(rng: random.Random, symbols: int) -> dict[str, str]:
    names = list(SYMBOLS[:symbols])
    return dict(zip(names, rng.sample(names, symbols), strict=True))


def _question(rng: random.Random, arrows: Mapping[str, str], hops: tuple[int, int]) -> Example:
    facts = [f"{tail} {head}." for tail, head in rng.sample(sorted(arrows.items()), len(arrows))]
    path, length = [rng.choice(sorted(arrows))], rng.randint(*hops)
    for _ in range(length):
        path.append(arrows[path[-1]])
    return Example(
        question=f"{' '.join(facts)} From {path[0]} follow {length} {'arrow' if length == 1 else 'arrows'}.",
        steps=tuple(f"Then {tail} {head}." for tail, head in itertools.pairwise(path)),
        answer=path[-1],
        extra={"candidates": sorted(arrows)},
    )
