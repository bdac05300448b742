"""Questions that one set of examples shares with another, as a test set with the training data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from latentcot.core import Example
from latentcot.data.records import question_key


@dataclass(frozen=True)
class Overlap:
    """How many of `n` examples ask what others ask, and the first of them."""

    count: int
    n: int
    first: int = 0
    """Record number of the first, from 1; 0 if there is none."""
    question: str = ""

    def __str__(self) -> str:
        """Say it in a few words, for an error or a note."""
        return f"{self.count:,} of {self.n:,} questions (the first is record {self.first}, {self.question!r:.60})"


def question_keys(examples: Iterable[Example]) -> frozenset[bytes]:
    """Return the keys of all questions (see `question_key`)."""
    return frozenset(question_key(example.question) for example in examples)


def find_overlap(examples: Sequence[Example], keys: Collection[bytes]) -> Overlap:
    """Return which of the examples ask a question that is among the keys."""
    shared = [number for number, example in enumerate(examples, 1) if question_key(example.question) in keys]
    if not shared:
        return Overlap(0, len(examples))
    return Overlap(len(shared), len(examples), shared[0], examples[shared[0] - 1].question)
