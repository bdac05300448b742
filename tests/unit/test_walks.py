"""Walks: lines along the question's facts, by name, until all of them are walked."""

import itertools

import pytest

from latentcot.core import Example, UserError
from latentcot.data.walks import LINES, make_splits

SIZES = {"train": 300, "valid": 50}
OPTIONS = {"seed": 3, "nodes": 12, "hops": (2, 4)}
NAMED, ASKED = (
    [example for examples in make_splits(SIZES, form=form, **OPTIONS).values() for example in examples]
    for form in ("named", "asked")
)


def facts(example: Example) -> set[tuple[str, str]]:
    """(a, b): a is a b."""
    *stated, _ = example.question.split(". ")
    return {(words[-4], words[-1]) for words in (fact.split() for fact in stated)}


def test_walks_follow_the_facts_and_leave_none_out() -> None:
    for example in NAMED:
        walked = {pair for line in example.steps for pair in itertools.pairwise(line.split())}
        assert walked <= facts(example)
        assert walked == facts(example) or len(example.steps) == LINES


def test_the_first_walk_begins_at_the_asked_entity_and_each_goes_as_far_as_it_can() -> None:
    for example in NAMED:
        assert example.steps[0].split()[0] == example.question.split("Is ")[1].split()[0]
        parents = {parent for parent, _ in facts(example)}
        for line in example.steps:
            *before, last = line.split()
            assert set(before) <= parents
            assert last not in parents


def test_an_asked_walk_has_a_step_for_each_fact_and_no_options() -> None:
    for example in ASKED:
        walk = [(words[-4], words[-1]) for words in (step.removesuffix(".").split() for step in example.steps)]
        assert set(walk) <= facts(example)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(walk))
        assert example.question.endswith(f"Is {walk[0][0]} a?")
        assert example.answer == f"{walk[0][0]} is a {walk[-1][1]}."
        assert walk[-1][1] not in {parent for parent, _ in facts(example)}


def test_impossible_sizes_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="nodes is 3: give 4 or more"):
        make_splits({"train": 1}, seed=0, nodes=3)
