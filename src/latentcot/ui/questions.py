"""Where the page's questions come from, and what is known of one that a person types."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, UserError
from latentcot.data import chains, prosqa, records
from latentcot.data.columns import Columns
from latentcot.data.sources import Sources, spelled

MAKERS: Mapping[str, Callable[[int], Example]] = {
    "ProsQA": lambda seed: prosqa.make_splits({"test": 1}, seed)["test"][0],
    "chains": lambda seed: chains.make_splits({"train": 1, "test": 1}, seed)["test"][0],
}
"""A fresh question, from a seed, of each task that can be recognized by a question's text alone."""

TRIES = 100
"""Questions drawn before it counts as proven that none of a kind fits the models."""


@dataclass(frozen=True)
class Questions:
    """What the button draws from, and the examples that are known by their text."""

    origin: str
    """As the page names it; "" if there is nothing to draw from."""
    pick: Callable[[random.Random], Example]
    known: Mapping[bytes, Example]

    def draw(self, checkpoints: Collection[Checkpoint], rng: random.Random) -> Example:
        """A random question that every checkpoint can be asked; UserError if none is found."""
        for _ in range(TRIES):
            example = self.pick(rng)
            try:
                for checkpoint in checkpoints:
                    checkpoint.layout(example.question)
            except UserError as error:
                fault = error
            else:
                return example
        raise UserError(f"{self.origin}: none of {TRIES} questions fits the model: {fault}")

    def understood(self, question: str) -> Example:
        """The example that a question is; one without steps and answer where nothing is known of it."""
        question = question.strip()
        known = self.known.get(records.question_key(question))
        if known is not None:
            return replace(known, question=question)
        return prosqa.from_text(question) or chains.from_text(question) or Example(question, (), "")


def of_data(data: Sources, columns: Columns, checkpoints: Collection[Checkpoint]) -> Questions:
    """The questions of a source; UserError if it cannot be read, or holds nothing that the checkpoints can be asked."""
    examples = records.read(data, columns)
    known = {records.question_key(example.question): example for example in examples}
    questions = Questions(spelled(data), lambda rng: rng.choice(examples), known)
    questions.draw(checkpoints, random.Random(0))
    return questions


def fresh(checkpoints: Collection[Checkpoint]) -> Questions:
    """Freshly made questions of the first task that fits the checkpoints; nothing to draw from if none does."""
    for name, make in MAKERS.items():
        questions = Questions(f"fresh {name} questions", lambda rng, make=make: make(rng.getrandbits(32)), {})  # type: ignore[misc]
        try:
            questions.draw(checkpoints, random.Random(0))
        except UserError:
            continue
        return questions
    return Questions("", _nothing, {})


def _nothing(rng: random.Random) -> Example:
    tasks = " or ".join(MAKERS)
    raise UserError(f"no questions to draw from, since the model does not know {tasks}: start the page with --data")
