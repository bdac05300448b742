"""The six outcome classes of a written ProsQA answer (section 5 of the paper, "Interpolation")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from latentcot.core import Example, UserError
from latentcot.data.graph import Graph, graph_of
from latentcot.evaluation.rules import same_text
from latentcot.tokens import ANSWER_MARK


class Outcome(StrEnum):
    """What became of the path that an answer writes; the last two are for answers that write none."""

    CORRECT_PATH = "correct_path"
    """A shortest path to the right option."""
    LONGER_PATH = "longer_path"
    """A path to the right option that is longer than need be."""
    HALLUCINATION = "hallucination"
    """An edge that does not exist, or edges that do not connect."""
    WRONG_TARGET = "wrong_target"
    """A path to a node that is not the right option."""
    CORRECT_LABEL = "correct_label"
    """No path, the right answer."""
    INCORRECT_LABEL = "incorrect_label"
    """No path, any other answer or none."""


def outcome(text: str, example: Example) -> Outcome:
    """The class of what a model wrote: steps, then `### answer`. UserError if there is no graph.

    A step a line, or the names of the path in one line (`data convert --steps named`).

    A path is judged by itself: the label after it does not matter (accuracy tells that). A line that is no
    fact of the graph, word for word, is an edge that does not exist; so is a last line cut short. Without
    `###` all lines are steps, and no line at all is a wrong label.

    Thoughts may stand for the beginning of the path. That shows in the path: its first edge does not start
    at the asked entity. Then a completion, any path from the asked entity to that start, is put before it.
    """
    graph = graph_of(example)
    written = text.rpartition(ANSWER_MARK)[0] if ANSWER_MARK in text else text
    steps = [line.strip() for line in written.splitlines() if line.strip()]
    if steps:
        return _path_outcome(steps, graph)
    return Outcome.CORRECT_LABEL if same_text(text, example.answer) else Outcome.INCORRECT_LABEL


def outcomes(answers: Iterable[tuple[str, Example]]) -> dict[str, float]:
    """Share of each class, in the paper's order, of pairs of written text and example; UserError if none."""
    counts = Counter(outcome(text, example) for text, example in answers)
    if not counts:
        raise UserError("no answers: outcome shares need at least one")
    return {str(kind): counts[kind] / counts.total() for kind in Outcome}


def _path_outcome(steps: list[str], graph: Graph) -> Outcome:
    """The class of the written steps, of which there is at least one."""
    path, from_root = graph.follow(steps), graph.distances(graph.root)
    if not path or path[0] not in from_root:
        return Outcome.HALLUCINATION
    start, end = path[0], path[-1]
    if end != graph.target:
        return Outcome.WRONG_TARGET
    # The shortest completion decides: with it the whole is a shortest path, or no completion makes it one.
    shortest = from_root[start] + len(path) - 1 == from_root[end]
    return Outcome.CORRECT_PATH if shortest else Outcome.LONGER_PATH
