"""Recital: ProsQA's facts in one order, to be said again in another. What a model from scratch learns first.

    Every wumpus is a yumpus. Tom is a wumpus. Every yumpus is a zumpus. What is known?
    Tom is a wumpus. Every yumpus is a zumpus.      the only step      answer: Every wumpus is a yumpus.

A pretrained model finds, after "Every wumpus is a", the place where that stood before. A small model from scratch
spends nearly all of its training on ProsQA without that, since a question's few steps ask for it only once it knows
which way to go. Here no search is in the way: each fact asks for one look-up. All but one stand in a single step, one
behind the other as in the question: what comes before a fact is then alike there and here, and the look-up is found
sooner.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from latentcot.core import Example
from latentcot.data import prosqa
from latentcot.data.graph import graph_of
from latentcot.data.splits import split


def make_splits(
    sizes: Mapping[str, int], seed: int, *, nodes: int = 6, hops: tuple[int, int] = (1, 3)
) -> dict[str, list[Example]]:
    """`sizes[name]` recitals for each split, no graph twice, of graphs as `prosqa.make_splits` draws them.

    UserError for values without sense, or that hardly ever give a graph.
    """
    prosqa.require_sense(nodes, hops)

    def draw(rng: random.Random) -> tuple[str, Example]:
        key, example = prosqa.draw(rng, nodes, hops, prosqa.PARENTS, entities=0)
        facts = graph_of(example).facts
        rng.shuffle(facts)
        *stated, _ = example.question.split(". ")
        return key, Example(". ".join([*stated, "What is known?"]), (" ".join(facts[:-1]),), facts[-1])

    return split(sizes, draw, seed)
