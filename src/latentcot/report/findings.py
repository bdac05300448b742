"""The analyses, each computed, drawn and put in words: what `latentcot analyze` writes and a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from latentcot.analysis import case as cases
from latentcot.analysis import decode as decoding
from latentcot.analysis import faithfulness as interventions
from latentcot.analysis import health as healths
from latentcot.analysis import interpolation as forcing
from latentcot.analysis import parallelism as parallel
from latentcot.analysis import probe as probes
from latentcot.analysis.height import Definition, heights
from latentcot.analysis.race import standings
from latentcot.analysis.sweep import finished
from latentcot.analysis.tree import NodeValue, by_distance, search_tree
from latentcot.analysis.values import Value, candidate_values
from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, UserError
from latentcot.data.graph import graph_of
from latentcot.evaluation.health import warnings
from latentcot.report.plots.accuracy import draw_faithfulness, draw_interpolation, draw_sweep
from latentcot.report.plots.case import draw_case
from latentcot.report.plots.decode import draw_decode
from latentcot.report.plots.health import draw_health
from latentcot.report.plots.probe import draw_probe
from latentcot.report.plots.race import draw_race, draw_standings
from latentcot.report.plots.search import draw_heights, draw_parallelism
from latentcot.report.plots.tree import draw_masses, draw_tree

V = TypeVar("V", bound=Value)

EARLY = (1, 2)
"""Numbers of thoughts that the paper's figures on parallelism and height show."""


@dataclass(frozen=True)
class Subject:
    """What is looked at: a checkpoint, a set of examples, and the most thoughts to give it."""

    checkpoint: Checkpoint
    examples: Sequence[Example]
    thoughts: int
    batch_size: int = 64

    @property
    def numbers(self) -> range:
        """Every number of thoughts from 0 on."""
        return range(self.thoughts + 1)

    @cached_property
    def values(self) -> list[Value]:
        """The value of every candidate after each number of thoughts."""
        return candidate_values(self.checkpoint, self.examples, self.numbers, batch_size=self.batch_size)

    @cached_property
    def tree(self) -> list[NodeValue]:
        """`values` with their places in the graphs."""
        return search_tree(self.values, self.examples)

    def only(self, index: int) -> Subject:
        """One example of the set; UserError if there is none at `index`."""
        if not 0 <= index < len(self.examples):
            raise UserError(f"--index is {index}: the questions are numbered from 0 to {len(self.examples) - 1}")
        return replace(self, examples=[self.examples[index]])


@dataclass(frozen=True)
class Finding:
    """An analysis as a figure with a title and a note on how to read it, as rows, and as a few figures over all."""

    name: str
    title: str
    note: str
    figure: Figure
    rows: list[dict[str, Any]]
    summary: Mapping[str, Any] = field(default_factory=dict)


def tree(subject: Subject, index: int | None = None) -> Finding:
    """The search tree of the question at `index`, or the values of the whole set by distance."""
    if index is None:
        masses = by_distance(subject.tree)
        note = (
            "Mean value at each distance from the asked entity. A breadth-first search moves one column to the right "
            "with each thought; a question whose steps are all thought names its answer."
        )
        return Finding("tree", "The search, by distance", note, draw_masses(masses), [asdict(one) for one in masses])
    one = subject.only(index)
    note = (
        "After so many thoughts, how likely the model is to go on with each concept. A light node's value rounds to "
        "nothing; grey nodes are no candidates there."
    )
    figure = draw_tree(one.tree, graph_of(one.examples[0]))
    title, rows = "The search tree of one question", [asdict(value) | {"index": index} for value in one.tree]
    return Finding("tree", title, note, figure, rows, _asked(one.examples[0]))


def race(subject: Subject, index: int | None = None) -> Finding:
    """The candidates of the question at `index` after each thought, or how the right ones fare over the set."""
    if index is None:
        found = standings(subject.values)
        note = "The value of the right candidates, of the best other one and of the rest, as means over the questions."
        return Finding(
            "race", "The race of the candidates", note, draw_standings(found), [asdict(one) for one in found]
        )
    one = subject.only(index)
    note = "After so many thoughts, what the model would name next if it had to go on in words. Dark bars are right."
    rows = [asdict(value) | {"index": index} for value in one.values]
    return Finding(
        "race", "Inside the thoughts of one question", note, draw_race(one.values), rows, _asked(one.examples[0])
    )


def _asked(example: Example) -> dict[str, Any]:
    return {"question": example.question, "steps": list(example.steps), "answer": example.answer}


def parallelism(subject: Subject) -> Finding:
    """How many candidates the first thoughts keep open at once."""
    points = parallel.parallelism(_early(subject.values))
    note = (
        "The value of the best one, two and three candidates together, each curve sorted over the questions. The "
        "farther apart the curves, the more candidates a thought keeps open."
    )
    return Finding(
        "parallelism", "Parallel search", note, draw_parallelism(points), [asdict(point) for point in points]
    )


def height(subject: Subject, definition: Definition = "shortest") -> Finding:
    """The value of correct and incorrect nodes against their height after the first thoughts."""
    nodes = heights(_early(subject.tree), subject.examples, definition)
    if not nodes:
        raise UserError("no node is on a frontier of the search: give questions whose asked entity has children")
    note = (
        "Nodes at as many edges from the asked entity as there are thoughts, means with 95% intervals. Nodes near a "
        "leaf are easier to judge, so the two lines should part there."
    )
    rows = [asdict(node) for node in nodes]
    return Finding(
        "height", "Value against height", note, draw_heights(nodes, definition), rows, {"height": definition}
    )


def _early(values: Sequence[V]) -> list[V]:
    found = [value for value in values if value.thoughts in EARLY]
    if not found:
        raise UserError("the number of thoughts is 0: give 1 or more")
    return found


def interpolation(subject: Subject) -> Finding:
    """Accuracy and outcome classes at each forced number of thoughts."""
    forced = forcing.interpolation(subject.checkpoint, subject.examples, subject.numbers, batch_size=subject.batch_size)
    note = (
        "The same checkpoint made to answer after fewer thoughts; it writes the steps that it has not thought. 95% "
        "intervals. Few numbers but the last do well where training did not mix stages."
    )
    rows = [{key: value for key, value in vars(one).items() if key != "outcomes"} | one.outcomes for one in forced]
    return Finding("interpolation", "Between writing and thinking", note, draw_interpolation(forced), rows)


def case(subject: Subject, index: int | None = None, beside: Checkpoint | None = None) -> Finding:
    """One question answered at each number of thoughts, beside another checkpoint's answer.

    Without `index` the question that more thoughts mend most clearly is chosen; UserError if there is none.
    """
    one = subject if index is None else subject.only(index)
    found = cases.answered(one.checkpoint, one.examples, one.numbers, batch_size=one.batch_size)
    chosen = cases.choose(found) if index is None else 0
    if chosen is None:
        raise UserError("no question is wrong without thoughts and right with all of them: name one with --index")
    example, answers = one.examples[chosen], found[chosen]
    if beside is not None:
        answers = cases.answered(beside, [example], [beside.thoughts])[0] + answers
    rows = [asdict(answer) | {"index": chosen if index is None else index} for answer in answers]
    note = "What was written for one question after more and more thoughts. ✗ marks a line that is no fact of it."
    return Finding("case", "Case study", note, draw_case(answers, example), rows, _asked(example))


def decode(subject: Subject, index: int | None = None, top: int = 5) -> Finding:
    """The thoughts read as tokens: of the question at `index`, or means over the set."""
    one = subject if index is None else subject.only(index)
    tokens = decoding.decode(one.checkpoint, one.examples, thoughts=one.thoughts, top=top, batch_size=one.batch_size)
    of_what = "Means over the questions." if index is None else "Of one question."
    note = (
        f"{of_what} What the LM head makes of each thought, the token embeddings nearest to it, and what the head "
        "makes of every layer below it (layer 0 is what is fed)."
    )
    mean = [token for token in tokens if token.index is None]
    rows = [asdict(t) | ({} if t.index is None or index is None else {"index": index}) for t in tokens]
    summary = {} if index is None else _asked(one.examples[0])
    return Finding("decode", "Thoughts read as tokens", note, draw_decode(mean), rows, summary)


def faithfulness(subject: Subject, seed: int = 0) -> Finding:
    """Accuracy with other states in the thoughts' place."""
    replaced = interventions.faithfulness(
        subject.checkpoint, subject.examples, thoughts=subject.thoughts, batch_size=subject.batch_size, seed=seed
    )
    note = (
        "The same questions with other states in the thoughts' place, 95% intervals. Where accuracy stays, the answer "
        "does not hang on what was replaced."
    )
    rows = [asdict(one) for one in replaced]
    return Finding("faithfulness", "Do answers hang on the thoughts?", note, draw_faithfulness(replaced), rows)


def probe(subject: Subject, seed: int = 0) -> Finding:
    """What linear probes read off each thought, against their control tasks."""
    probed = probes.probe(
        subject.checkpoint, subject.examples, thoughts=subject.thoughts, batch_size=subject.batch_size, seed=seed
    )
    note = (
        "Linear probes from a thought to facts about a concept, on questions that they were not trained on. What they "
        "reach above the control task, whose labels are random for each asked entity, is in the thought."
    )
    return Finding("probe", "What can be read off a thought", note, draw_probe(probed), [asdict(one) for one in probed])


def health(subject: Subject) -> Finding:
    """Size, likeness, entropy and gradient of the thoughts, with warnings in words."""
    found, measured = healths.health(
        subject.checkpoint, subject.examples, thoughts=subject.thoughts, batch_size=subject.batch_size
    )
    wrong = [*warnings(measured), *healths.gradient_warnings(found)]
    note = " ".join(f"Warning: {words}." for words in wrong) or "Size, likeness and gradients are within sound limits."
    return Finding(
        "health", "The health of the thoughts", note, draw_health(found), [asdict(one) for one in found],
        {**measured, "warnings": wrong},
    )  # fmt: skip


def sweep(runs: Sequence[Path]) -> Finding:
    """Finished runs beside each other."""
    found = finished(runs)
    note = "The best checkpoint of each run on its validation set, against the tokens that it writes and thinks."
    return Finding("sweep", "Accuracy against tokens", note, draw_sweep(found), [asdict(one) for one in found])
