"""Accuracy by the published rule, tokens counted the published way, outcome classes where there are graphs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example, Prediction
from latentcot.evaluation.answers import Evaluation
from latentcot.evaluation.rules import number, same_number, same_text

TEN = Example("5 + 5?", (), "1,000")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("### 1000", True),
        ("<<5+5=1000>>\n###  1,000 \n", True),
        ("### 3 ### 1000", True),
        ("1000", True),
        ("### 1000.", False),
        ("### 100", False),
        ("### 1000 ### 3", False),
        ("", False),
    ],
)
def test_the_text_after_the_last_mark_must_equal_the_answer(text: str, right: bool) -> None:
    assert same_text(text, "1,000") is right


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("### 1000", "1,000", True),
        ("### 1000.0", "1000", True),
        ("### $1,000.", "1000", True),
        ("### 1000 dollars", "1000", True),
        ("### 1e3", "1000", True),
        ("### 1/3", "2/6", True),
        ("### .5", "0.50", True),
        ("### -4", "-4.0", True),
        ("### 4", "-4", False),
        ("### 0.333", "1/3", False),
        ("### 3 or 1000", "1000", False),
        ("### 1000 of 3", "1000", False),
        ("### 1/0", "1000", False),
        ("### about 1000", "1000", False),
        ("### True", "True", False),
        ("", "0", False),
    ],
)
def test_numbers_are_compared_as_numbers(text: str, gold: str, right: bool) -> None:
    assert same_number(text, gold) is right


@given(st.fractions(), st.sampled_from(["", " ", ".", " apples", "% of them"]))
def test_a_number_is_read_exactly(value: Fraction, unit: str) -> None:
    assert number(f"{value}{unit}") == value


def test_numbers_are_reported_where_every_answer_is_one() -> None:
    word = Example("Really?", (), "True")
    metrics = Evaluation([TEN, word], [Prediction("### 1000.0", 1, 0), Prediction("### True", 1, 0)], 1.0).metrics()
    assert metrics["accuracy"] == 0.5
    assert "accuracy_number" not in metrics
    assert Evaluation([TEN], [Prediction("### 1000.0", 1, 0)], 1.0).metrics()["accuracy_number"] == 1.0


def test_metrics_are_means_over_the_examples() -> None:
    predictions = [Prediction("### 1000", 4, 2), Prediction("### 3", 6, 2)]
    evaluation = Evaluation([TEN, TEN], predictions, seconds=3.0)
    assert evaluation.metrics() == {
        "n": 2, "accuracy": 0.5, "tokens": 5.0, "thoughts": 2.0, "seconds_per_example": 1.5,
        "accuracy_number": 0.5,
    }  # fmt: skip
    assert [record["correct"] for record in evaluation.records()] == [True, False]


def test_outcome_classes_come_with_graphs() -> None:
    graph = {"idx_to_symbol": ["Tom", "lempus", "yimpus"], "edges": [[0, 1]], "root": 0, "target": 1, "neg_target": 2}
    example = Example("Tom is a lempus. Is Tom a lempus or yimpus?", ("Tom is a lempus.",), "Tom is a lempus.", graph)
    written = Prediction("Tom is a lempus.\n### Tom is a lempus.", 12, 0)
    outcomes = Evaluation([example, TEN], [written, Prediction("", 0, 0)], 1.0).metrics()["outcomes"]
    assert sum(outcomes.values()) == 1.0  # The example without a graph has no outcome.
    assert max(outcomes, key=outcomes.get) == "correct_path"
