"""From checkpoints, a question and a number of thoughts to what the page shows. Nothing here knows of widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, Slot, UserError
from latentcot.evaluation.rules import same_text
from latentcot.generate import answer
from latentcot.report import findings
from latentcot.report.findings import Finding, Subject
from latentcot.report.inputs import Need
from latentcot.report.look import NEEDS
from latentcot.report.plots.style import svg
from latentcot.tokens import final_answer

LONGEST = 10_000
"""Characters of the longest question that the page takes."""


@dataclass(frozen=True)
class Answer:
    """What a checkpoint wrote for a question, and what that took."""

    name: str
    """The checkpoint, as the user named it."""
    row: str
    text: str
    correct: bool | None
    """None where no gold answer is known."""
    tokens: int
    """Written ones and continuous thoughts, as the paper counts them."""
    thoughts: int
    milliseconds: float

    @property
    def final(self) -> str:
        """The answer within the text."""
        return final_answer(self.text)


@dataclass(frozen=True)
class Picture:
    """An analysis of the question as an SVG element; without one, the note says why."""

    title: str
    note: str
    svg: str = ""


@dataclass(frozen=True)
class Shown:
    """All that the page shows for a question."""

    example: Example
    answers: Sequence[Answer]
    race: Picture
    tree: Picture


def ask(checkpoints: Mapping[str, Checkpoint], example: Example, thoughts: int) -> Shown:
    """Ask every checkpoint, and look inside the thoughts of the first.

    The others get as many thoughts where their rows have any. UserError if a question cannot be asked: it is empty,
    has words that a model does not know, or takes more positions than it has, or the first row has no thoughts.
    """
    first, *others = checkpoints
    asked = {first: thoughts} | {name: 0 if checkpoints[name].frame.slot is Slot.NONE else thoughts for name in others}
    answers = [_answer(name, checkpoints[name], example, number) for name, number in asked.items()]
    subject = Subject(checkpoints[first], [example], thoughts)
    return Shown(
        example,
        answers,
        race=_picture("The race of the candidates", findings.race, subject, "choices"),
        tree=_picture("The search tree", findings.tree, subject, "graph"),
    )


def require_short(question: str) -> None:
    """UserError if a question is longer than the page takes, before any work is done with it."""
    if len(question) > LONGEST:
        raise UserError(f"the question has {len(question):,} characters: give {LONGEST:,} at most")


def whole(number: float | None, most: int) -> int:
    """The number of thoughts that was typed; UserError unless it is a whole one from 0 to `most`."""
    if number is None or not 0 <= number <= most or number != int(number):
        raise UserError(f"the number of thoughts is {number}: give a whole one from 0 to {most}")
    return int(number)


def _answer(name: str, checkpoint: Checkpoint, example: Example, thoughts: int) -> Answer:
    began = time.perf_counter()
    try:
        (written,) = answer(checkpoint, [example.question], thoughts=thoughts)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    seconds = time.perf_counter() - began
    correct = same_text(written.text, example.answer) if example.answer else None
    return Answer(name, checkpoint.row, written.text, correct, written.tokens, written.thoughts, 1000 * seconds)


def _picture(title: str, find: Callable[[Subject, int], Finding], subject: Subject, need: Need) -> Picture:
    try:
        NEEDS[need](subject.examples[0])
        finding = find(subject, 0)
    except UserError as error:
        return Picture(title, f"Not drawn: {error}")
    return Picture(finding.title, finding.note, svg(finding.figure))


def as_html(piece: str, content: Shown | Picture | str) -> str:
    """A macro of shown.html.j2 as HTML: `answers`, `picture` or `message`."""
    environment = Environment(loader=PackageLoader("latentcot.ui", "."), autoescape=True, trim_blocks=True)
    return str(getattr(environment.get_template("shown.html.j2").module, piece)(content))
