"""The search tree that thoughts hold: the value of every node of the graph after each thought (section 5 of the paper).

If thoughts search breadth first, the value after k thoughts lies on the nodes that k edges lead to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from latentcot.analysis.values import Value
from latentcot.core import Example
from latentcot.data.graph import graph_of


@dataclass(frozen=True)
class NodeValue(Value):
    """A candidate's value, and where it stands in the graph."""

    distance: int | None
    """Edges from the asked node; None if it does not lead there."""


@dataclass(frozen=True)
class Mass:
    """The value of all nodes at a distance together, mean over the questions."""

    thoughts: int
    distance: int | None
    value: float


def search_tree(values: Sequence[Value], examples: Sequence[Example]) -> list[NodeValue]:
    """The candidates' values with their places in the examples' graphs. UserError if an example has none."""
    graphs = [graph_of(example) for example in examples]
    reached = [{graph.symbols[node]: steps for node, steps in graph.distances(graph.root).items()} for graph in graphs]
    return [NodeValue(**vars(value), distance=reached[value.index].get(value.name)) for value in values]


def by_distance(values: Sequence[NodeValue]) -> list[Mass]:
    """The mean mass at each distance after each number of thoughts, distances in order and those without one last."""
    masses: dict[tuple[int, int | None], float] = defaultdict(float)
    for value in values:
        masses[value.thoughts, value.distance] += value.value
    questions = len({value.index for value in values})
    numbers = sorted({value.thoughts for value in values})
    distances = sorted({value.distance for value in values if value.distance is not None})
    return [
        Mass(number, distance, masses[number, distance] / questions)
        for number in numbers
        for distance in (*distances, None)
    ]
