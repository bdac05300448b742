"""Linear probes: which facts of the graph can be read off a thought, and how much of that is the probe's own doing.

A probe is a ridge classifier from a thought to a label of a *concept*, one for each concept and thought: is the concept
reachable within k edges, is it on the frontier at k, how far is it from the target? That is asked of thought k, or of
thought k + 1 where steps are names, of which the first is the asked entity itself. The control task of Hewitt and Liang
(2019) gives each type, here the asked entity, a label drawn once with the odds of the real ones, so that only memory
can get it right. *Selectivity* is the real accuracy less that of the control.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mode

import torch
from torch import Tensor

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, UserError
from latentcot.data.graph import Graph, distances, graph_of
from latentcot.generate import thoughts_of

TRAIN_SHARE = 0.7
"""Of the questions; the probes are tested on the others."""

RIDGE = 0.1
"""Penalty for each training question, on standardised features."""

FEWEST = 20
"""Training questions without which a concept has no probe."""

FAR = 3
"""Distances to the target from here on share a bucket."""


def within(graph: Graph, node: int, edges: int) -> int:
    """Whether `edges` edges or fewer lead from the asked node to it."""
    return int(graph.distances(graph.root).get(node, len(graph.symbols)) <= edges)


def frontier(graph: Graph, node: int, edges: int) -> int:
    """Whether it is `edges` edges from the asked node."""
    return int(graph.distances(graph.root).get(node) == edges)


def to_target(graph: Graph, node: int, edges: int) -> int:
    """Edges to the target, `FAR` for so many or more, one more than that where none lead there."""
    steps = distances(graph.parents, graph.target).get(node)
    return FAR + 1 if steps is None else min(steps, FAR)


FACTS: Mapping[str, Callable[[Graph, int, int], int]] = {
    "reachable within k": within,
    "on the frontier at k": frontier,
    "distance to the target": to_target,
}


@dataclass(frozen=True)
class Probed:
    """How well a fact is read off a thought: accuracy over all test cases of all concepts' probes."""

    fact: str
    thought: int
    """From 1."""
    cases: int
    majority: float
    """Accuracy of always giving the label that is most frequent in training."""
    accuracy: float
    control: float
    """Accuracy on the control task."""
    selectivity: float


def probe(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    *,
    thoughts: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> list[Probed]:
    """Probe every thought for every fact. UserError without graphs or thoughts, or with too few questions."""
    graphs = [graph_of(example) for example in examples]
    states = thoughts_of(
        checkpoint, [example.question for example in examples], thoughts=thoughts, batch_size=batch_size
    )
    return probe_states(states, graphs, seed, behind=int(checkpoint.named_steps))


def probe_states(states: Tensor, graphs: Sequence[Graph], seed: int, behind: int = 0) -> list[Probed]:
    """`probe` for thoughts [n, K, H] at hand; thought i is asked about i - `behind` edges."""
    order = random.Random(seed).sample(range(len(graphs)), len(graphs))
    training = set(order[: round(TRAIN_SHARE * len(order))])
    homes = {name: rows for name, rows in _homes(graphs).items() if len(training & rows.keys()) >= FEWEST}
    homes = {name: rows for name, rows in homes.items() if rows.keys() - training}
    if not homes:
        raise UserError(f"{len(graphs)} questions are too few: no concept is in {FEWEST} of those to train probes on")
    found = []
    for column in range(states.shape[1]):
        counts: Counter[tuple[str, str]] = Counter()
        for name, nodes in homes.items():
            counts += _probe_concept(states[:, column], graphs, nodes, training, column + 1 - behind, f"{seed}/{name}")
        found += [_probed(fact, column + 1, counts) for fact in FACTS]
    return found


def _homes(graphs: Sequence[Graph]) -> dict[str, dict[int, int]]:
    """For each concept, the questions that it is in and its node there."""
    homes: dict[str, dict[int, int]] = {}
    for index, graph in enumerate(graphs):
        for node, name in enumerate(graph.symbols):
            if node not in graph.entities:
                homes.setdefault(name, {})[index] = node
    return homes


def _probe_concept(
    states: Tensor, graphs: Sequence[Graph], nodes: Mapping[int, int], training: set[int], edges: int, seed: str
) -> Counter[tuple[str, str]]:
    """How many test questions each fact's probes of one concept get right.

    `states` is [n, H], `nodes` the concept's node in each question that has it.
    """
    rows = sorted(nodes, key=lambda row: row not in training)
    first_test = sum(row in training for row in rows)
    asked = [graphs[row].symbols[graphs[row].root] for row in rows]
    real, control = {}, {}
    for fact, label_of in FACTS.items():
        real[fact] = labels = [label_of(graphs[row], nodes[row], edges) for row in rows]
        drawn = {entity: random.Random(f"{seed}/{fact}/{edges}/{entity}").choice(labels) for entity in set(asked)}
        control[fact] = [drawn[entity] for entity in asked]
    hits = iter(_hits(states[rows], [*real.values(), *control.values()], first_test))
    counts = Counter({(fact, "right"): next(hits) for fact in FACTS})
    counts += Counter({(fact, "control"): next(hits) for fact in FACTS})
    for fact, labels in real.items():
        counts[fact, "cases"] = len(rows) - first_test
        counts[fact, "majority"] = labels[first_test:].count(mode(labels[:first_test]))
    return counts


def _hits(states: Tensor, tasks: Sequence[Sequence[int]], first_test: int) -> list[int]:
    """For each task, a label for each row of `states`, how many rows from `first_test` on its probe gets right."""
    predicted = ridge_classify(states[:first_test], [task[:first_test] for task in tasks], states[first_test:])
    return [
        sum(label == guess for label, guess in zip(task[first_test:], guesses, strict=True))
        for task, guesses in zip(tasks, predicted, strict=True)
    ]


def ridge_classify(train: Tensor, tasks: Sequence[Sequence[int]], test: Tensor) -> list[list[int]]:
    """For each task, labels of the rows of `train` [n, H], the labels of the rows of `test` [m, H].

    By ridge regression on one-hot labels, in closed form.
    """
    centre, scale = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    x, classes = (train - centre) / scale, [sorted(set(task)) for task in tasks]
    hot = [
        torch.tensor([[label == one for one in seen] for label in task])
        for task, seen in zip(tasks, classes, strict=True)
    ]
    y = torch.cat(hot, dim=1).float()
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x.T @ (y - y.mean(dim=0)))
    scores = (test - centre) / scale @ weights + y.mean(dim=0)
    pieces = scores.split([len(seen) for seen in classes], dim=1)
    return [[seen[best] for best in piece.argmax(dim=1).tolist()] for piece, seen in zip(pieces, classes, strict=True)]


def _probed(fact: str, thought: int, counts: Counter[tuple[str, str]]) -> Probed:
    cases = counts[fact, "cases"]
    majority, accuracy, control = (counts[fact, kind] / cases for kind in ("majority", "right", "control"))
    return Probed(fact, thought, cases, majority, accuracy, control, accuracy - control)
