"""A case study: one question answered after more and more thoughts, beside a chain of thought (section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example
from latentcot.data.graph import has_graph
from latentcot.evaluation.paths import outcome
from latentcot.evaluation.rules import same_text
from latentcot.generate import answer


@dataclass(frozen=True)
class Answered:
    """What was written for the question at `index`. `outcome` is its class, "" where the question has no graph."""

    index: int
    row: str
    thoughts: int
    text: str
    correct: bool
    outcome: str


def answered(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: Iterable[int], *, batch_size: int = 64
) -> list[list[Answered]]:
    """For each example, its answers in the order of the numbers of thoughts."""
    columns = []
    for number in thoughts:
        predictions = answer(
            checkpoint, [example.question for example in examples], thoughts=number, batch_size=batch_size
        )
        columns.append(
            [
                Answered(
                    index,
                    checkpoint.row,
                    number,
                    prediction.text,
                    same_text(prediction.text, example.answer),
                    str(outcome(prediction.text, example)) if has_graph(example) else "",
                )
                for index, (prediction, example) in enumerate(zip(predictions, examples, strict=True))
            ]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def choose(cases: Sequence[Sequence[Answered]]) -> int | None:
    """The case in which more thoughts mend the answer most clearly; None if there is none.

    Wrong with the fewest thoughts and right with the most, with as few turns back to wrong and as many kinds of
    outcomes as there are.
    """
    mended = [index for index, case in enumerate(cases) if case[-1].correct and not case[0].correct]
    if not mended:
        return None
    return min(mended, key=lambda index: (_turns(cases[index]), -len({one.outcome for one in cases[index]}), index))


def _turns(case: Sequence[Answered]) -> int:
    return sum(before.correct != after.correct for before, after in pairwise(case))
