"""Accuracy by the published rule, tokens counted the published way, outcome classes where there are graphs."""

import pytest

from latentcot.core import Example, Prediction
from latentcot.evaluation.answers import Evaluation, is_correct

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
    assert is_correct(Prediction(text, 1, 0), TEN) is right


def test_metrics_are_means_over_the_examples() -> None:
    predictions = [Prediction("### 1000", 4, 2), Prediction("### 3", 6, 2)]
    evaluation = Evaluation([TEN, TEN], predictions, seconds=3.0)
    assert evaluation.metrics() == {
        "n": 2, "accuracy": 0.5, "tokens": 5.0, "thoughts": 2.0, "seconds_per_example": 1.5,
    }  # fmt: skip
    assert [record["correct"] for record in evaluation.records()] == [True, False]


def test_outcome_classes_come_with_graphs() -> None:
    graph = {"idx_to_symbol": ["Tom", "lempus", "yimpus"], "edges": [[0, 1]], "root": 0, "target": 1, "neg_target": 2}
    example = Example("Tom is a lempus. Is Tom a lempus or yimpus?", ("Tom is a lempus.",), "Tom is a lempus.", graph)
    written = Prediction("Tom is a lempus.\n### Tom is a lempus.", 12, 0)
    outcomes = Evaluation([example, TEN], [written, Prediction("", 0, 0)], 1.0).metrics()["outcomes"]
    assert sum(outcomes.values()) == 1.0  # The example without a graph has no outcome.
    assert max(outcomes, key=outcomes.get) == "correct_path"
