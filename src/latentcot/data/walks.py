"""Walks: ProsQA questions whose first steps are named and not written out. What a thought will hold, said in words.

    Every wumpus is a yumpus. Tom is a wumpus. Every yumpus is a zumpus. ... Is Tom a zumpus or a rompus?
    Tom wumpus                    the walk so far      then: Every yumpus is a zumpus.      answer: Tom is a zumpus.

A line of k names stands where Coconut's stage k has k thoughts, and each name is found from the one before it alone, as
a thought is. A small model from scratch that has learnt this starts Coconut with passes that already take a step; one
that only knows written steps answers from the prompt and never comes to use its thoughts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from latentcot.core import Example, UserError
from latentcot.data import prosqa
from latentcot.data.graph import Edge, Graph, graph_of
from latentcot.data.splits import split

ASIDE = 0.5
"""Share of walks that go anywhere, which teach more facts than those that go to the answer."""
LINES = 12
"""Most walks that a question gets: the published graphs take about as many, and longer texts take longer."""
WHOLE = 0.75
"""Share of walks that are named up to their last step, so that a name is mostly followed by a name."""


def make_splits(
    sizes: Mapping[str, int],
    seed: int,
    *,
    nodes: int = 12,
    hops: tuple[int, int] = (2, 4),
    whole: float = WHOLE,
    every_fact: bool = False,
) -> dict[str, list[Example]]:
    """`sizes[name]` questions for each split, no graph twice, of graphs as `prosqa.make_splits` draws them.

    The share `whole` of the walks is named up to the last step, the others up to any.
    With `every_fact` no step is written: walks start anew, a line each, until every fact has been walked (`LINES` at
    most), which teaches large graphs with fewer questions. UserError for values without sense, or that hardly ever
    give a graph.
    """
    prosqa.require_sense(nodes, hops)
    if not 0 <= whole <= 1:
        raise UserError(f"whole is {whole}: give a number from 0 to 1")

    def draw(rng: random.Random) -> tuple[str, Example]:
        """One question, with the key of its graph."""
        key, example = prosqa.draw(rng, nodes, hops, prosqa.PARENTS, entities=0)
        graph = graph_of(example)
        if every_fact:
            return key, Example(example.question, tuple(_everywhere(graph, rng)), example.answer)
        path = _walk(graph, graph.root, set(), rng) if rng.random() < ASIDE else _to_the_answer(graph, example)
        named = len(path) - 1 if rng.random() < whole else rng.randint(1, len(path) - 1)
        written = [f"Every {here} is a {there}." for here, there in zip(path[named:], path[named + 1 :], strict=False)]
        return key, Example(example.question, (" ".join(path[:named]), *written), example.answer)

    return split(sizes, draw, seed)


def _to_the_answer(graph: Graph, example: Example) -> list[str]:
    """The names that the written steps go through."""
    return [graph.symbols[graph.root], *(step.rstrip(".").split()[-1] for step in example.steps)]


def _walk(graph: Graph, node: int, left: set[Edge], rng: random.Random) -> list[str]:
    """Names from a node until no fact goes on, along facts that are `left` where there are any; they are taken out."""
    names = [graph.symbols[node]]
    while children := graph.children[node]:
        child = rng.choice([child for child in children if (node, child) in left] or children)
        left.discard((node, child))
        names.append(graph.symbols[child])
        node = child
    return names


def _everywhere(graph: Graph, rng: random.Random) -> list[str]:
    """Lines of walks, the first from the asked entity and the others from where facts are left."""
    left = set(graph.edges)
    lines = [" ".join(_walk(graph, graph.root, left, rng))]
    while left and len(lines) < LINES:
        start = rng.choice(sorted({parent for parent, _ in left}))
        lines.append(" ".join(_walk(graph, start, left, rng)))
    return lines
