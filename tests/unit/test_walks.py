"""Walks: lines along the question's facts, by name, until all of them are walked."""

import itertools

import pytest

from latentcot.core import Example, UserError
from latentcot.data.walks import LINES, make_splits

SIZES = {"train": 300, "valid": 50}
OPTIONS = {"seed": 3, "nodes": 12, "hops": (2, 4)}
NAMED, ASKED, LEAF = (
    [example for examples in make_splits(SIZES, form=form, **OPTIONS).values() for example in examples]
    for form in ("named", "asked", "leaf")
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
    for example in ASKED + LEAF:
        walk = [(words[-4], words[-1]) for words in (step.removesuffix(".").split() for step in example.steps)]
        assert set(walk) <= facts(example)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(walk))
        assert example.question.endswith(f"Is {walk[0][0]} a?")
        assert example.answer == f"{walk[0][0]} is a {walk[-1][1]}."
        assert walk[-1][1] not in {parent for parent, _ in facts(example)}


def test_a_walk_to_a_leaf_is_a_shortest_one_and_every_leaf_is_as_likely() -> None:
    first, last = [], []
    for example in LEAF:
        root, pairs = example.answer.split()[0], facts(example)
        children = {a: sorted(b for x, b in pairs if x == a) for a, _ in pairs}
        far, queue = {root: 0}, [root]
        for name in queue:
            for child in children.get(name, ()):
                if child not in far:
                    far[child] = far[name] + 1
                    queue.append(child)
        leaves = sorted(name for name in far if name not in children)
        end = example.answer.removesuffix(".").split()[-1]
        assert end in leaves
        assert len(example.steps) == far[end]
        if len(leaves) > 1:
            first.append(end == leaves[0])
            last.append(end == leaves[-1])
    # Names say nothing of places, so the first by name is drawn as often as the last.
    assert len(first) > 100
    assert abs(sum(first) - sum(last)) < 4 * len(first) ** 0.5


def test_impossible_sizes_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="nodes is 3: give 4 or more"):
        make_splits({"train": 1}, seed=0, nodes=3)
