"""Filters keep what is inside their limits and count the rest; splits share no question."""

import contextlib
import random
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.filters import Filter, shown
from latentcot.data.holdout import hold_out
from latentcot.data.records import question_key, reshuffle_facts

words = st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(" ".join)
example_lists = st.lists(st.builds(Example, words, st.lists(words, max_size=3).map(tuple), words), min_size=1)
limits = st.none() | st.integers(0, 8)


def length(example):
    return len(" ".join([example.question, *example.steps, example.answer]).split())


@given(example_lists, limits, limits, limits, limits)
def test_a_filter_keeps_what_is_inside_its_limits(examples, few, many, short, long):
    steps, span = (few or 0, 99 if many is None else many), (short or 0, 99 if long is None else long)
    if steps[0] > steps[1] or span[0] > span[1]:
        with pytest.raises(UserError, match="no record is kept"):
            Filter(few, many, short, long)
        return
    limits = Filter(few, many, short, long)
    inside = [e for e in examples if steps[0] <= len(e.steps) <= steps[1] and span[0] <= length(e) <= span[1]]
    dropped: Counter[str] = Counter()
    if not inside:
        with pytest.raises(UserError, match=f"no record is left of {len(examples)} "):
            list(limits.keep(examples, dropped))
        return
    assert list(limits.keep(examples, dropped)) == inside
    assert sum(dropped.values()) == len(examples) - len(inside)
    assert set(dropped) == set(limits.limits())


def test_a_record_counts_under_the_first_limit_that_it_breaks():
    limits, dropped = Filter(min_steps=1, max_words=2), Counter()
    examples = [
        Example("a b c", (), "d"),
        Example("a b c", ("d",), "e"),
        Example("a", ("b",), ""),
        Example("a", (), "b"),
    ]
    assert list(limits.keep(examples, dropped)) == [examples[2]]
    assert shown(limits, dropped) == "min_steps 1 dropped 2, max_words 2 dropped 1"
    assert shown(Filter(), Counter()) == ""


@pytest.mark.parametrize(
    ("fields", "said"), [({"min_steps": -1}, "min_steps is -1"), ({"min_words": 3, "max_words": 2}, "above")]
)
def test_limits_that_cannot_be_meant(fields, said):
    with pytest.raises(UserError, match=said):
        Filter(**fields)


@given(example_lists, st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.randoms())
def test_splits_share_no_question_and_lose_none(examples, valid, test, seed, rng):
    sizes = {"valid": valid, "test": test}
    made = {}
    with contextlib.suppress(UserError):  # Which sizes cannot be met is another test's matter.
        made = hold_out(examples, sizes, seed)
    assume(made)
    assert {name: len(made.get(name, ())) for name in sizes} == sizes
    assert Counter(e for part in made.values() for e in map(repr, part)) == Counter(map(repr, examples))
    keys = [{question_key(example.question) for example in part} for part in made.values()]
    assert sum(map(len, keys)) == len(set().union(*keys))
    assert made["train"]
    shuffled = rng.sample(examples, len(examples))
    again = hold_out(shuffled, sizes, seed)
    assert {name: sorted(map(repr, part)) for name, part in again.items()} == {
        name: sorted(map(repr, part)) for name, part in made.items()
    }


def test_a_split_keeps_the_order_and_hangs_on_the_seed():
    examples = [Example(f"{n}?", (), str(n)) for n in range(100)]
    made = hold_out(examples, {"valid": 10, "test": 20}, 0)
    assert [len(made[name]) for name in ("train", "valid", "test")] == [70, 10, 20]
    for part in made.values():
        assert part == sorted(part, key=lambda example: int(example.answer))
    assert hold_out(examples, {"valid": 10, "test": 20}, 1) != made


def test_repetitions_stay_together():
    question = "Every a is a b. Every b is a c. Is a a c or d?"
    twins = [Example(reshuffle_facts(question, random.Random(n)), (), str(n)) for n in range(5)]
    others = [Example(f"{n}?", (), "x") for n in range(20)]
    for seed in range(10):
        for part in hold_out([*twins, *others], {"valid": 7, "test": 0}, seed).values():
            assert len([e for e in part if e in twins]) in (0, 5)


@pytest.mark.parametrize("sizes", [{"valid": 3}, {"valid": 1, "test": 1}, {"valid": 2}, {"valid": -1}])
def test_sizes_that_cannot_be_met(sizes):
    twins = [Example("a?", (), "1"), Example("a?", (), "2")]
    with pytest.raises(UserError, match=r"ask for fewer|give 0 or more"):
        hold_out(twins, sizes, 0)
