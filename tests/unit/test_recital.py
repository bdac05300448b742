"""Recital: every fact of a ProsQA graph is said again, once, in an order of its own."""

import pytest

from latentcot.core import Example, UserError
from latentcot.data.graph import has_graph
from latentcot.data.recital import make_splits

SPLITS = make_splits({"train": 300, "valid": 50}, seed=3)
RECITALS = [example for examples in SPLITS.values() for example in examples]


def facts(question: str) -> list[str]:
    *stated, asked = question.split(". ")
    assert asked == "What is known?"
    return [f"{fact}." for fact in stated]


def said(example: Example) -> list[str]:
    (step,) = example.steps
    return [*(f"{fact}." for fact in step.removesuffix(".").split(". ")), example.answer]


def test_steps_and_answer_are_the_facts_of_the_question() -> None:
    for example in RECITALS:
        assert sorted(said(example)) == sorted(facts(example.question))


def test_the_order_tells_nothing() -> None:
    same_first = sum(facts(example.question)[0] == said(example)[0] for example in RECITALS)
    assert 0.1 * len(RECITALS) < same_first < 0.45 * len(RECITALS)  # About one of four facts.


def test_no_graph_is_in_two_splits() -> None:
    keys = {name: {tuple(sorted(facts(each.question))) for each in examples} for name, examples in SPLITS.items()}
    assert not keys["train"] & keys["valid"]
    assert len(keys["train"]) == 300


def test_a_recital_asks_nothing_that_its_graph_would_answer() -> None:
    assert not any(has_graph(example) for example in RECITALS)


def test_impossible_sizes_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="nodes is 3: give 4 or more"):
        make_splits({"train": 1}, seed=0, nodes=3)
    with pytest.raises(UserError, match="hops is 3 to 1"):
        make_splits({"train": 1}, seed=0, hops=(3, 1))
