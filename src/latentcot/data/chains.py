"""Chains: follow the arrows of a round trip, a task that direct answering fails for want of depth.

    A B. F D. H F. E A. D E. B H. From E follow 3 arrows.
    Then E A. / Then A B. / Then B H.                      answer: H

The pairs are the arrows: one leaves every symbol, and all together are one round trip, so no symbol comes back within
a question and a guess is right once in a few times only. The last sentence asks. A model of few layers looks one arrow
up at a time, so it needs a written step or a thought for each.

What makes it learnable within minutes: the two ends of an arrow stand side by side; the number of arrows varies (with
chains of one length the last stage, where all text goes, is not learned); the training questions have single arrows
among them, which teach the look-up itself and, needing no chain, are in no other split; and a step opens with a word,
so that a symbol is read off the thoughts in the same way for the next step and for the answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from itertools import pairwise

from latentcot.core import Example, UserError

PATIENCE = 1000
"""Draws for each question after which a split counts as having no round trip of its own."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_QUESTION = re.compile(r"((?:[A-Z] [A-Z]\. )+)From ([A-Z]) follow (\d{1,2}) arrows?\.")


def make_splits(
    sizes: Mapping[str, int], seed: int, *, symbols: int = 6, alphabet: int = 8, hops: int = 4
) -> dict[str, list[Example]]:
    """`sizes[name]` questions for each split, the training split first; no round trip is in two splits.

    The arrows of a question join `symbols` letters out of the first `alphabet`. A training question follows 1 to
    `hops` of them, any other 2 to `hops`. A split has a random stream of its own, so it does not change with the
    sizes of the others. UserError for impossible sizes.
    """
    if not 4 <= symbols <= alphabet:
        raise UserError(f"symbols is {symbols}: give at least 4 and at most the {alphabet} of the alphabet")
    if not alphabet <= len(LETTERS):
        raise UserError(f"alphabet is {alphabet}: give at most {len(LETTERS)}")
    if not 2 <= hops < symbols:
        raise UserError(f"hops is {hops}: give at least 2 and less than the {symbols} symbols")
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name} is {size}: ask for 1 question or more")
    training = next(iter(sizes))
    return {
        name: _split(
            name, list(sizes), size, seed, LETTERS[:alphabet], symbols, range(1 + (name != training), hops + 1)
        )
        for name, size in sizes.items()
    }


def _split(
    name: str, names: list[str], size: int, seed: int, alphabet: str, symbols: int, lengths: range
) -> list[Example]:
    rng = random.Random(f"{name} {seed}")
    examples: list[Example] = []
    for _ in range(PATIENCE * size):
        arrows = _round_trip(rng, alphabet, symbols)
        if _owner(arrows, names, seed) == name:
            examples.append(_question(rng, arrows, rng.choice(lengths)))
            if len(examples) == size:
                return examples
    raise UserError(
        f"{symbols} symbols have too few round trips to set some aside for {name}: raise symbols or alphabet"
    )


def _owner(arrows: Mapping[str, str], names: list[str], seed: int) -> str:
    """The split that a round trip belongs to: eight of ten to the first of the names, the rest to the others."""
    rng = random.Random(f"{sorted(arrows.items())} {seed}")
    return names[0] if rng.random() < 0.8 else rng.choice(names[1:] or names)


def _round_trip(rng: random.Random, alphabet: str, symbols: int) -> dict[str, str]:
    """Where the arrow of each symbol leads."""
    way = rng.sample(alphabet, symbols)
    return dict(zip(way, way[1:] + way[:1], strict=True))


def from_text(question: str) -> Example | None:
    """The example that a question of this task is, told by its text alone; None for any other text."""
    found = _QUESTION.fullmatch(question)
    if found is None:
        return None
    facts = [fact.split() for fact in found[1].removesuffix(". ").split(". ")]
    arrows, length = dict(facts), int(found[3])
    sound = len(arrows) == len(facts) and set(arrows) == set(arrows.values())
    return _example(question, arrows, found[2], length) if sound and found[2] in arrows and length else None


def _question(rng: random.Random, arrows: Mapping[str, str], length: int) -> Example:
    facts = [f"{tail} {head}." for tail, head in rng.sample(list(arrows.items()), len(arrows))]
    start = rng.choice(list(arrows))
    asked = f"From {start} follow {length} {'arrow' if length == 1 else 'arrows'}."
    return _example(f"{' '.join(facts)} {asked}", arrows, start, length)


def _example(question: str, arrows: Mapping[str, str], start: str, length: int) -> Example:
    path = [start]
    for _ in range(length):
        path.append(arrows[path[-1]])
    return Example(
        question=question,
        steps=tuple(f"Then {tail} {head}." for tail, head in pairwise(path)),
        answer=path[-1],
        extra={"candidates": sorted(arrows)},
    )
