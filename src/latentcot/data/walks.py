"""Walks: every fact of a ProsQA graph, walked in lines. What a small model from scratch learns before ProsQA.

    Every wumpus is a yumpus. Tom is a wumpus. Every yumpus is a zumpus. ... Is Tom a zumpus or a rompus?
    Tom wumpus yumpus zumpus      a line for each walk, until all are walked      answer: Tom is a zumpus.

A pretrained model finds, after "Every wumpus is a", the place where that stood before. A model from scratch spends
nearly all of its training on ProsQA without that, since a question's few steps ask for it only once it knows which way
to go. Here no search is in the way: nearly every name asks for one look-up, by the name before it alone, as a thought
is found from the thought before it. One walk alone can be asked for as well, with no option to choose from: then
nothing but the walk tells what comes after some thoughts.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Literal

from latentcot.core import Example
from latentcot.data import prosqa
from latentcot.data.graph import Edge, Graph, graph_of
from latentcot.data.splits import split

Form = Literal["named", "asked"]
"""named: a line of names for each walk. asked: one walk from the asked entity, a step for each fact."""

LINES = 12
"""Most walks that a question gets: the published graphs take about as many, and longer texts take longer."""


def make_splits(
    sizes: Mapping[str, int], seed: int, *, nodes: int = 6, hops: tuple[int, int] = (1, 3), form: Form = "named"
) -> dict[str, list[Example]]:
    """`sizes[name]` questions for each split, no graph twice, of graphs as `prosqa.make_splits` draws them.

    The first walk begins at the asked entity, each further one where facts are left, `LINES` at most; asked questions
    have the first alone, and are answered by where it ends. UserError for values without sense, or that hardly ever
    give a graph.
    """
    prosqa.require_sense(nodes, hops)

    def draw(rng: random.Random) -> tuple[str, Example]:
        """One question, with the key of its graph."""
        key, example = prosqa.draw(rng, nodes, hops, prosqa.PARENTS, entities=0)
        graph = graph_of(example)
        if form == "asked":
            return key, _asked(graph, example.question, _walk(graph, graph.root, set(), rng))
        lines = [" ".join(graph.symbols[node] for node in walk) for walk in _everywhere(graph, rng)]
        return key, Example(example.question, tuple(lines), example.answer)

    return split(sizes, draw, seed)


def _asked(graph: Graph, question: str, walk: list[int]) -> Example:
    """The facts of the question, and whatever its entity is."""
    known, entity = question.rpartition("Is ")[0], graph.symbols[walk[0]]
    steps = tuple(graph.fact(edge) for edge in itertools.pairwise(walk))
    return Example(f"{known}Is {entity} a?", steps, f"{entity} is a {graph.symbols[walk[-1]]}.")


def _everywhere(graph: Graph, rng: random.Random) -> list[list[int]]:
    """Walks, the first from the asked entity and the others from where facts are left."""
    left = set(graph.edges)
    walks = [_walk(graph, graph.root, left, rng)]
    while left and len(walks) < LINES:
        walks.append(_walk(graph, rng.choice(sorted({parent for parent, _ in left})), left, rng))
    return walks


def _walk(graph: Graph, node: int, left: set[Edge], rng: random.Random) -> list[int]:
    """Nodes from this one until no fact goes on, along those `left` where there are any; they are taken out."""
    walk = [node]
    while children := graph.children[node]:
        child = rng.choice([child for child in children if (node, child) in left] or children)
        left.discard((node, child))
        walk.append(child)
        node = child
    return walk
