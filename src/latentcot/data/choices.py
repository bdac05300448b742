"""What could come next after some thoughts: the candidates of an example, and the words that stand before them.

Analyses that look at candidates ask here and need not know the task. ProsQA's come from its graph, those of any other
set from the key `candidates` of its records: the names that a step or the answer can begin with (chains has it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from latentcot.core import Example, UserError
from latentcot.data.graph import Graph, graph_of, has_graph
from latentcot.tokens import ANSWER_MARK


@dataclass(frozen=True)
class Choices:
    """The text that comes next is `opening`, a space and one of `names`; without `opening` the name alone."""

    opening: str
    names: tuple[str, ...]
    right: frozenset[str]
    """The names that a right chain can go on with."""


def choices(example: Example, thoughts: int, named: bool = False) -> Choices:
    """The choices after `thoughts` thoughts, each of which stands for a step; after the last step, the answers.

    With `named`, the steps of a graph are its names (`prosqa.named`). UserError if the record names no candidates.
    """
    return _of_graph(graph_of(example), thoughts, named) if has_graph(example) else _of_record(example, thoughts)


def _of_graph(graph: Graph, thoughts: int, named: bool) -> Choices:
    """ProsQA's: the asked entity, then concepts ("Every A is a B."), at last the two options' like (section 5)."""
    reached = graph.distances(graph.root)
    if graph.target not in reached:
        raise UserError("no path leads from the asked entity to the right option: mend the edges")
    concepts = tuple(graph.symbols[node] for node in range(len(graph.symbols)) if node not in graph.entities)
    if thoughts >= reached[graph.target] + named:  # The last name is a step of its own.
        asked, target = graph.symbols[graph.root], graph.symbols[graph.target]
        return Choices(f"{ANSWER_MARK} {asked} is a", concepts, frozenset([target]))
    right = frozenset(graph.symbols[node] for node in graph.on_shortest_paths() if reached[node] == thoughts)
    names = concepts if thoughts else tuple(graph.symbols[node] for node in sorted(graph.entities))
    return Choices("Every" if thoughts and not named else "", names, right)


def _of_record(example: Example, thoughts: int) -> Choices:
    names = example.extra.get("candidates")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(
            'neither a graph nor "candidates" beside the question: add the names that a step can begin with'
        )
    text = example.steps[thoughts] if thoughts < len(example.steps) else f"{ANSWER_MARK} {example.answer}"
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found = re.search(rf"(?<!\w)({longest_first})(?!\w)", text)
    if found is None:
        raise UserError(f'none of "candidates" is in {text!r:.60}: add the name that stands there')
    return Choices(text[: found.start()].rstrip(), tuple(names), frozenset([found[0]]))
