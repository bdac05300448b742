"""Walks: a line of names along the question's facts, then the steps that are left."""

import itertools

import pytest

from latentcot.core import Example, UserError
from latentcot.data.walks import LINES, make_splits

SPLITS = make_splits({"train": 300, "valid": 50}, seed=3)
WALKS = [example for examples in SPLITS.values() for example in examples]


def facts(example: Example) -> set[tuple[str, str]]:
    """(a, b): a is a b."""
    *stated, _ = example.question.split(". ")
    return {(words[-4], words[-1]) for words in (fact.split() for fact in stated)}


def path(example: Example) -> list[list[str]]:
    """The names of the first line, and the two of each step that is written."""
    first, *written = example.steps
    return [first.split(), *([step.split()[1], step.rstrip(".").split()[-1]] for step in written)]


def test_every_step_named_or_written_is_a_fact_of_the_question() -> None:
    for example in WALKS:
        named, *written = path(example)
        known = facts(example)
        assert set(itertools.pairwise(named)) | {(a, b) for a, b in written} <= known
        assert named[0] == example.question.split("Is ")[1].split()[0]
        if written:  # The step between is left to the thought: it is neither named nor written.
            assert (named[-1], written[0][0]) in known
            assert all(before[1] == after[0] for before, after in itertools.pairwise(written))


def test_walks_go_to_the_answer_and_elsewhere_whole_and_in_part() -> None:
    whole = sum(len(example.steps) == 1 for example in WALKS) / len(WALKS)
    assert 0.65 < whole < 0.95
    ends = [(path(example)[-1][-1], example.answer.rstrip(".").split()[-1]) for example in WALKS]
    right = sum(end == answer for (end, answer), example in zip(ends, WALKS, strict=True) if len(example.steps) > 1)
    assert 0 < right < sum(len(example.steps) > 1 for example in WALKS)


def test_walks_of_every_fact_leave_none_out() -> None:
    for example in make_splits({"train": 100}, seed=3, every_fact=True)["train"]:
        walked = {pair for line in example.steps for pair in itertools.pairwise(line.split())}
        assert walked <= facts(example)
        assert walked == facts(example) or len(example.steps) == LINES
        assert example.steps[0].split()[0] == example.question.split("Is ")[1].split()[0]


def test_impossible_sizes_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="nodes is 3: give 5 or more"):
        make_splits({"train": 1}, seed=0, nodes=3)
    with pytest.raises(UserError, match="whole is 2: give a number from 0 to 1"):
        make_splits({"train": 1}, seed=0, whole=2)
