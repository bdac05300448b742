"""The graph that a ProsQA question lists as facts, as its record carries it, and whether the two agree."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from latentcot.core import Example, UserError

Edge = tuple[int, int]
"""(a, b): a is a b."""


@dataclass(frozen=True)
class Graph:
    """A question's graph; nodes are numbered from 0."""

    symbols: tuple[str, ...]
    """Name of each node."""
    edges: tuple[Edge, ...]
    root: int
    """The node that is asked about."""
    target: int
    """The right option."""
    neg_target: int
    """The wrong option."""

    @cached_property
    def children(self) -> list[list[int]]:
        """Of each node, in the order of the edges."""
        return children_of(len(self.symbols), self.edges)

    @cached_property
    def parents(self) -> list[list[int]]:
        """Of each node, in the order of the edges."""
        return children_of(len(self.symbols), [(child, parent) for parent, child in self.edges])

    @cached_property
    def entities(self) -> frozenset[int]:
        """The nodes without parents: individuals with names, where the others are concepts."""
        return frozenset(range(len(self.symbols))) - {child for _, child in self.edges}

    @cached_property
    def facts(self) -> list[str]:
        """Each edge as a sentence, in the order of the edges."""
        return [self.fact(edge) for edge in self.edges]

    def fact(self, edge: Edge) -> str:
        """The edge as a sentence with its full stop."""
        parent, child = edge
        every = "" if parent in self.entities else "Every "
        return f"{every}{self.symbols[parent]} is a {self.symbols[child]}."

    def follow(self, steps: Sequence[str]) -> list[int]:
        """The nodes along steps, facts or bare names; [] where they do not connect or are none of the graph's."""
        edges = dict(zip(self.facts, self.edges, strict=True))
        if all(step in edges for step in steps):
            path = [edges[step] for step in steps]
            connected = all(before[1] == after[0] for before, after in itertools.pairwise(path))
            return [*(parent for parent, _ in path[:1]), *(child for _, child in path)] if connected else []
        names = [name for step in steps for name in step.split()]
        if not set(names) <= set(self.symbols):
            return []
        nodes = [self.symbols.index(name) for name in names]
        return nodes if all(pair in self.edges for pair in itertools.pairwise(nodes)) else []

    def distances(self, start: int) -> dict[int, int]:
        """Edges from `start` to each node that it reaches, itself included, nearest first."""
        return distances(self.children, start)

    def on_shortest_paths(self) -> set[int]:
        """The nodes on the shortest paths from the asked node to the target; {} where none leads there."""
        from_root, to_target = self.distances(self.root), distances(self.parents, self.target)
        length = from_root.get(self.target)
        return {node for node, steps in from_root.items() if node in to_target and steps + to_target[node] == length}

    def heights(self, longest: bool = False) -> list[int]:
        """Of each node, edges to its nearest leaf, or with `longest` to its farthest; UserError if there is a cycle."""
        try:
            leaves_first = list(TopologicalSorter(dict(enumerate(self.children))).static_order())
        except CycleError as error:
            raise UserError('"edges" has a cycle, so its nodes have no height: remove one of its edges') from error
        heights, choose = [0] * len(self.symbols), max if longest else min
        for node in leaves_first:
            if self.children[node]:
                heights[node] = 1 + choose(heights[child] for child in self.children[node])
        return heights


def children_of(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    """The children of each of `count` nodes, in the order of the edges."""
    children: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges:
        children[parent].append(child)
    return children


def distances(children: Sequence[Sequence[int]], start: int) -> dict[int, int]:
    """Breadth first: edges on a shortest path from `start` to each node that it reaches, nearest first."""
    found, queue = {start: 0}, [start]
    for node in queue:
        for child in children[node]:
            if child not in found:
                found[child] = found[node] + 1
                queue.append(child)
    return found


def has_graph(example: Example) -> bool:
    """Whether the record carries a graph, be it right or wrong."""
    return "idx_to_symbol" in example.extra and "edges" in example.extra


def graph_of(example: Example) -> Graph:
    """The graph that an example carries, keys as in the published files; UserError names the wrong key."""
    extra = example.extra
    symbols, edges = _field(extra, "idx_to_symbol"), _field(extra, "edges")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise UserError('"idx_to_symbol" is not a list of texts: give the name of every node')
    if len(set(symbols)) < len(symbols):
        raise UserError('"idx_to_symbol" has a name twice: give each node a name of its own')
    if not isinstance(edges, list):
        raise UserError('"edges" is not a list: give pairs of node numbers')
    for edge in edges:
        if not isinstance(edge, list) or len(edge) != 2 or not all(_is_node(node, symbols) for node in edge):
            raise UserError(f'"edges" has {edge!r:.60}: give pairs of nodes, from 0 to {len(symbols) - 1}')
    nodes = {key: _field(extra, key) for key in ("root", "target", "neg_target")}
    for key, node in nodes.items():
        if not _is_node(node, symbols):
            raise UserError(f'"{key}" is {node!r:.60}: give a node from 0 to {len(symbols) - 1}')
    return Graph(tuple(symbols), tuple((parent, child) for parent, child in edges), **nodes)


def graph_faults(example: Example) -> list[str]:
    """What does not fit between an example's graph and its text; [] if all is well.

    The facts are the graph's edges, the asked entity's own first fact is among them (one published
    out-of-distribution set lacks it), the right option can be reached and the wrong one cannot, and the
    steps are a shortest path of stated facts. An example without steps is not asked for a path.
    """
    try:
        graph = graph_of(example)
    except UserError as error:
        return [str(error)]
    return _query_faults(graph, example) + _fact_faults(graph, example) + _step_faults(graph, example)


def _field(extra: Mapping[str, Any], key: str) -> Any:
    if key not in extra:
        raise UserError(f'"{key}" is missing beside the graph: add it')
    return extra[key]


def _is_node(node: Any, symbols: Sequence[str]) -> bool:
    return type(node) is int and 0 <= node < len(symbols)  # not isinstance: True is an int


def _query_faults(graph: Graph, example: Example) -> list[str]:
    asked, right, wrong = (graph.symbols[node] for node in (graph.root, graph.target, graph.neg_target))
    found = []
    query = re.search(r"Is (\w+) a (\w+) or (\w+)\?$", example.question)
    if query is None or query[1] != asked or {query[2], query[3]} != {right, wrong}:
        found.append(f'the question does not end in "Is {asked} a {right} or {wrong}?": mend it or the graph')
    if example.answer != f"{asked} is a {right}.":
        found.append(f'the answer is not "{asked} is a {right}.": mend it or the graph')
    reached = graph.distances(graph.root)
    if graph.target not in reached:
        found.append(f"no path leads from {asked} to the right option {right}: mend the edges")
    if graph.neg_target in reached:
        found.append(f"a path leads from {asked} to the wrong option {wrong}: mend the edges")
    return found


def _fact_faults(graph: Graph, example: Example) -> list[str]:
    stated = dict.fromkeys(f"{sentence}." for sentence in example.question.split(". ")[:-1])
    drawn = dict.fromkeys(graph.facts)
    found = [f'the edge "{fact}" is not in the question: state it' for fact in drawn if fact not in stated]
    found += [f'the fact "{fact}" is not in the graph: add its edge' for fact in stated if fact not in drawn]
    asked = graph.symbols[graph.root]
    if not any(graph.fact((graph.root, child)) in stated for child in graph.children[graph.root]):
        found.append(f"the question states no fact about {asked}, so it has no answer: add its first fact")
    return found


def _step_faults(graph: Graph, example: Example) -> list[str]:
    if not example.steps:
        return []
    known = {*graph.facts, *graph.symbols}
    unknown = [f'the step "{step}" is not an edge: mend it' for step in example.steps if step.strip() not in known]
    if unknown:
        return unknown
    path = graph.follow(example.steps)
    if not path or (path[0], path[-1]) != (graph.root, graph.target):
        return ["the steps are not a path from the asked entity to the right option: mend them"]
    shortest = graph.distances(graph.root)[graph.target]
    if len(path) - 1 > shortest:
        return [f"{len(path) - 1} steps where {shortest} lead there: give a shortest path"]
    return []
