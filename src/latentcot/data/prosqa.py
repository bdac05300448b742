"""ProsQA: is the asked entity this or that, by a chain of facts? The generator, and a set's statistics.

The task is the COCONUT paper's (arXiv 2412.06769, appendix on ProsQA). Its pseudocode, followed to the
letter, does not give the published files. The rules here do: they were fitted to the published graphs.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

from latentcot.core import Example, UserError
from latentcot.data.graph import Edge, Graph, children_of, distances, graph_faults, graph_of, has_graph
from latentcot.data.splits import split

NAMES = [
    "Alex",
    "Bob",
    "Carol",
    "Davis",
    "Eva",
    "Fae",
    "Gabriel",
    "Jack",
    "Max",
    "Oliver",
    "Polly",
    "Rex",
    "Sally",
    "Sam",
    "Stella",
    "Tom",
    "Wren",
]
CONCEPTS = [
    "bompus",
    "boompus",
    "brimpus",
    "chorpus",
    "dumpus",
    "felpus",
    "fompus",
    "gerpus",
    "gorpus",
    "grimpus",
    "gwompus",
    "hilpus",
    "impus",
    "jelpus",
    "jompus",
    "kerpus",
    "lempus",
    "lorpus",
    "numpus",
    "quimpus",
    "rempus",
    "rompus",
    "rorpus",
    "scrompus",
    "shumpus",
    "sterpus",
    "storpus",
    "terpus",
    "timpus",
    "tumpus",
    "vumpus",
    "worpus",
    "wumpus",
    "yerpus",
    "yimpus",
    "yumpus",
    "zhorpus",
    "zumpus",
]

_FACT = re.compile(r"(?:Every )?(\w+) is a (\w+)\.")
_QUESTION = re.compile(r"((?:(?:Every )?\w+ is a \w+\. )+)Is (\w+) a (\w+) or (\w+)\?")

LABELS = {(True, False): "own", (False, True): "other", (True, True): "both", (False, False): "neither"}
"""Does a node descend from the asking root, and from the other one?"""

PARENTS = 1.5
"""Parents that a new node draws on average, as published."""

TRIES = 10_000
"""Graphs grown for one question before the options count as impossible."""

PUBLISHED = {
    "nodes": 22.8, "nodes sd": 1.98, "nodes max": 28, "edges": 36.0, "entities": 2.57,
    "in-degree 0": 0.027, "in-degree 1": 0.479, "in-degree 2": 0.305, "in-degree 3": 0.133,
    "in-degree 4": 0.042, "label own": 0.535, "label other": 0.372, "label both": 0.060,
    "label neither": 0.034, "3 steps": 0.41, "4 steps": 0.44, "5 steps": 0.13, "6 steps": 0.024,
    "shortest paths": 1.59, "asker is node 0": 0.364,
}  # fmt: skip
"""`statistics` of the 800 published validation and test questions."""


def make_splits(
    sizes: Mapping[str, int],
    seed: int,
    *,
    nodes: int = 28,
    hops: tuple[int, int] = (3, 6),
    parents: float = PARENTS,
    entities: int = 0,
) -> dict[str, list[Example]]:
    """Questions for each split, no graph twice; the defaults give the published statistics.

    A graph starts with `nodes` nodes, of which a new one draws `parents` parents on average, gets `entities`
    further nodes without parents, and a question takes `hops` steps (fewest, most). UserError for values without
    sense, or that hardly ever give a graph.
    """
    require_sense(nodes, hops)
    if not 0 < parents < math.inf:
        raise UserError(f"parents is {parents}: give a number above 0")
    if not 0 <= entities <= len(NAMES) - 2:
        raise UserError(f"entities is {entities}: give 0 to {len(NAMES) - 2}, for which the names last")
    return split(sizes, partial(draw, nodes=nodes, hops=hops, parents=parents, entities=entities), seed)


def require_sense(nodes: int, hops: tuple[int, int]) -> None:
    """UserError unless a graph of so many nodes can hold a question of `hops` steps (fewest, most)."""
    low, high = hops
    if not 1 <= low <= high:
        raise UserError(f"hops is {low} to {high}: give 1 or more, the smaller number first")
    if nodes < low + 3:
        raise UserError(f"nodes is {nodes}: give {low + 3} or more, which a question of {low} hops needs")


def draw(rng: random.Random, nodes: int, hops: tuple[int, int], parents: float, entities: int) -> tuple[str, Example]:
    """One question, with its sorted facts as the key of its graph; UserError after `TRIES` graphs in vain."""
    for _ in range(TRIES):
        edges = _grow(nodes, parents, rng, steepness=1 if hops[0] <= 6 else 3)
        graph = _question(_add_entities(edges, entities, rng), hops, rng)
        if graph is not None:
            return " ".join(sorted(graph.facts)), _example(graph, rng)
    raise UserError(
        f"none of {TRIES:,} graphs with nodes {nodes}, parents {parents} and entities {entities} gives a question of "
        f"{hops[0]} to {hops[1]} hops: change nodes, parents, entities or hops"
    )


def recognises(example: Example) -> bool:
    """Whether this is a question with a graph, and a sound one."""
    return has_graph(example) and not graph_faults(example)


def from_text(question: str) -> Example | None:
    """The example, with its graph, that a question is, told by its text alone; None if that is no sound question."""
    found = _QUESTION.fullmatch(question)
    facts = _FACT.findall(found[1]) if found else []
    symbols = tuple(dict.fromkeys(symbol for fact in facts for symbol in fact))
    if found is None or not {found[2], found[3], found[4]} <= set(symbols):
        return None
    node = {symbol: number for number, symbol in enumerate(symbols)}
    root, *options = (node[found[place]] for place in (2, 3, 4))
    edges = tuple((node[parent], node[child]) for parent, child in facts)
    reached = distances(children_of(len(symbols), edges), root)
    target, neg_target = sorted(options, key=lambda option: option not in reached)
    if root in options or target not in reached:
        return None
    graph = Graph(symbols, edges, root, target, neg_target)
    example = replace(_example(graph, random.Random(0)), question=question)  # The lot is which shortest path it shows.
    return example if recognises(example) else None


def named(example: Example) -> Example:
    """The example with names in one line for steps: the asked entity, then what each fact leads to.

    Every name is found from the one before it alone, as a thought is. UserError if the steps are not facts in a row.
    """
    if any(step.startswith(" ") for step in example.steps):
        raise UserError(f"the steps are names in one line already: leave --steps out ({example.question!r:.60})")
    facts = [_FACT.fullmatch(step) for step in example.steps]
    pairs = [(fact[1], fact[2]) for fact in facts if fact]
    if not pairs or len(pairs) < len(facts) or any(a[1] != b[0] for a, b in itertools.pairwise(pairs)):
        raise UserError(
            f"the steps are not facts in a row, as ProsQA's are: leave --steps out ({example.question!r:.60})"
        )
    return replace(example, steps=(pairs[0][0], *(f" {child}" for _, child in pairs)))


def frontiers(question: str) -> list[list[str]]:
    """The names that walks of 0, 1, 2, ... facts from the asked entity end at, until no walk goes on; each set sorted.

    UserError if the text is no ProsQA question, or its facts lead in a circle.
    """
    known, _, asked = question.rpartition("Is ")
    children: dict[str, list[str]] = {}
    for parent, child in _FACT.findall(known):
        children.setdefault(parent, []).append(child)
    frontier = {asked.partition(" a")[0]}
    if not frontier <= children.keys():
        raise UserError(
            f"no ProsQA question, or none with a fact about who is asked about: give ProsQA ({question!r:.60})"
        )
    found: list[list[str]] = []
    while frontier:
        found.append(sorted(frontier))
        if len(found) > len(known.split()):
            raise UserError(f"the facts lead in a circle: {question!r:.60}")
        frontier = {child for name in frontier for child in children.get(name, ())}
    return found


def statistics(examples: Sequence[Example]) -> dict[str, float]:
    """The rows of `PUBLISHED` for questions with graphs; UserError where there are none.

    In-degrees and labels are shares of the nodes beyond 0 and 1. A label says which of these two a node
    descends from: the asking one (own), the other, both or neither.
    """
    graphs = [graph_of(example) for example in examples]
    if not graphs:
        raise UserError("no questions: statistics need at least one")
    sizes = [len(graph.symbols) for graph in graphs]
    degrees = Counter(degree for graph in graphs for degree in _in_degrees(graph))
    labels = Counter(label for graph in graphs for label in _labels(graph))
    steps = Counter(len(example.steps) for example in examples)
    return {
        "nodes": fmean(sizes),
        "nodes sd": stdev(sizes) if len(sizes) > 1 else 0.0,
        "nodes max": max(sizes),
        "edges": fmean(len(graph.edges) for graph in graphs),
        "entities": fmean(len(graph.entities) for graph in graphs),
        **{f"in-degree {n}": degrees[n] / max(degrees.total(), 1) for n in range(5)},
        **{f"label {name}": labels[name] / max(labels.total(), 1) for name in LABELS.values()},
        **{f"{n} steps": steps[n] / len(graphs) for n in sorted({3, 4, 5, 6, *steps})},
        "shortest paths": fmean(_shortest_paths(graph) for graph in graphs),
        "asker is node 0": fmean(graph.root == 0 for graph in graphs),
    }


def _in_degrees(graph: Graph) -> list[int]:
    """Number of parents of each node from node 2 on."""
    parents = Counter(child for _, child in graph.edges)
    return [parents[node] for node in range(2, len(graph.symbols))]


def _labels(graph: Graph) -> list[str]:
    """Label of each node from node 2 on."""
    own, other = graph.distances(graph.root), graph.distances(int(graph.root == 0))
    return [LABELS[node in own, node in other] for node in range(2, len(graph.symbols))]


def _shortest_paths(graph: Graph) -> int:
    """Number of different shortest paths from root to target."""
    far = graph.distances(graph.root)
    ways = Counter({graph.root: 1})
    for node in far:  # nearest first
        for child in graph.children[node]:
            if far[child] == far[node] + 1:
                ways[child] += ways[node]
    return ways[graph.target]


def _grow(nodes: int, mean: float, rng: random.Random, steepness: int) -> list[Edge]:
    """Edges of a random DAG, sorted by child. Nodes 0 and 1 are the roots; nodes without an edge are dropped.

    A node's label has bit 0 if it descends from node 0 and bit 1 if it descends from node 1. A new node's
    parents come from the nodes of label 1 (35%), of label 2 (45%) or from all nodes. Deep ones are likelier,
    but for those of label 3, which have few children in the published files. How much likelier rises with
    `steepness`: 1 is as published, and makes paths of 7 or more hops too rare to wait for.
    """
    labels, depths, weights, edges = [1, 2], [0, 0], [1.0, 1.0], []
    groups: dict[int, list[int]] = {0: [], 1: [0], 2: [1], 3: []}
    for node in range(2, nodes):
        share = rng.random()
        pool = groups[1] if share < 0.35 else groups[2] if share < 0.8 else range(node)
        parents = _pick(pool, weights, _poisson(mean, rng), rng)
        label = 0
        for parent in parents:
            label |= labels[parent]
        labels.append(label)
        groups[label].append(node)
        depths.append(min((depths[parent] + 1 for parent in parents), default=0))
        weights.append(1.0 if label == 3 else (1.5 * depths[node] + 1) ** steepness)
        edges += [(parent, node) for parent in parents]
    number = {node: new for new, node in enumerate(sorted({0, 1}.union(*edges)))}
    return [(number[parent], number[child]) for parent, child in edges]


def _add_entities(edges: Sequence[Edge], count: int, rng: random.Random) -> list[Edge]:
    """The edges with `count` further nodes without parents, sorted by child.

    Each has a random node with parents for its only child, as most such nodes of the published files have, and
    stands at a random place before it. What the others reach does not change.
    """
    found = list(edges)
    for _ in range(count if found else 0):
        child = rng.choice(sorted({child for _, child in found}))
        place = rng.randint(2, child)
        found = [(first + (first >= place), second + (second >= place)) for first, second in found]
        found.append((place, child + 1))
    return sorted(found, key=lambda edge: edge[1])


def _pick(pool: Sequence[int], weights: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """`count` nodes of the pool (all of a smaller one), one after the other, each as likely as its weight."""
    picked: dict[int, None] = {}
    pool_weights = [weights[node] for node in pool]
    while len(picked) < min(count, len(pool)):
        picked[rng.choices(pool, pool_weights)[0]] = None
    return list(picked)


def _poisson(mean: float, rng: random.Random) -> int:
    """Knuth's method: uniform numbers multiplied until they fall below exp(-mean)."""
    floor, product, count = math.exp(-mean), rng.random(), 0
    while product > floor:
        product *= rng.random()
        count += 1
    return count


def _question(edges: Sequence[Edge], hops: tuple[int, int], rng: random.Random) -> Graph | None:
    """Choose root, target and wrong option, and name the nodes; None if the graph cannot be asked about.

    Each root has leaves of its own, which the other root does not reach. The target is the farthest of them
    all (ties by lot), the wrong option any own leaf of the other root.
    """
    children = children_of(1 + max((child for _, child in edges), default=1), edges)
    reached = [distances(children, root) for root in (0, 1)]
    own = [
        [n for n in reached[root] if n != root and not children[n] and n not in reached[1 - root]] for root in (0, 1)
    ]
    farthest = [max((reached[root][n] for n in own[root]), default=0) for root in (0, 1)]
    steps = max(farthest)
    if not hops[0] <= steps <= hops[1]:
        return None
    root = rng.choice([root for root in (0, 1) if farthest[root] == steps])
    target = rng.choice([n for n in own[root] if reached[root][n] == steps])
    entities = set(range(len(children))) - {child for _, child in edges}
    concepts = len(children) - len(entities)
    if not own[1 - root] or len(entities) > len(NAMES) or concepts > len(CONCEPTS):
        return None
    names, kinds = iter(rng.sample(NAMES, len(entities))), iter(rng.sample(CONCEPTS, concepts))
    symbols = tuple(next(names if n in entities else kinds) for n in range(len(children)))
    return Graph(symbols, tuple(edges), root, target, rng.choice(own[1 - root]))


def _example(graph: Graph, rng: random.Random) -> Example:
    """The question with its facts and options in random order, and one shortest path as steps."""
    facts = list(graph.facts)
    rng.shuffle(facts)
    options = [graph.symbols[graph.target], graph.symbols[graph.neg_target]]
    rng.shuffle(options)
    asked = graph.symbols[graph.root]
    extra = {
        "idx_to_symbol": list(graph.symbols),
        "edges": [list(edge) for edge in graph.edges],
        "root": graph.root,
        "target": graph.target,
        "neg_target": graph.neg_target,
    }
    return Example(
        question=" ".join([*facts, f"Is {asked} a {options[0]} or {options[1]}?"]),
        steps=tuple(graph.fact(edge) for edge in _shortest_path(graph, rng)),
        answer=graph.fact((graph.root, graph.target)),
        extra=extra,
    )


def _shortest_path(graph: Graph, rng: random.Random) -> list[Edge]:
    """Edges of a shortest path from root to target, chosen backwards by lot."""
    far, path, node = graph.distances(graph.root), [], graph.target
    while node != graph.root:
        nearer = [a for a, b in graph.edges if b == node and far.get(a) == far[node] - 1]
        path.append((rng.choice(nearer), node))
        node = path[-1][0]
    return path[::-1]
