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
        ("1000", False),
        ("## 1000", False),
        ("### 1000.", False),
        ("### 100", False),
        ("### 1000 ### 3", False),
        ("", False),
    ],
)
def test_the_text_after_the_last_mark_must_equal_the_answer(text: str, right: bool) -> None:
    assert same_text(text, "1,000") is right


pieces = st.lists(st.sampled_from(["###", "\n", " ", ",", "7", "42", "Tom", "."]), max_size=8).map("".join)


@given(pieces, pieces.filter(lambda gold: "#" not in gold and gold.replace(",", "").strip()))
def test_the_string_rule_is_that_of_the_official_code(written: str, gold: str) -> None:
    """Which looks at question and continuation, cut at the last `#`."""
    official = f"A question.\n{written}".split("#")[-1].replace(",", "").strip()
    assert same_text(written, gold) is (official == gold.replace(",", "").strip())


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
        ("1000", "1000", False),
        ("### 50%", "50%", True),
        ("### 50%", "0.5", True),
        ("### 50 percent", "1/2", True),
        ("### 50%", "50", False),
        ("### 50", "50%", False),
        ("### 5‰", "0.005", True),
        ("### 5%%", "0.0005", False),
        ("### $-5", "-5", True),
        ("### -$5", "-5", True),
        ("### - $ 5", "$-5", True),
        ("### -$-5", "5", False),
        ("### \u22125", "-5", True),
        ("### \u20135.0", "\u22125", True),
        ("### 5 million", "5", False),
        ("### 5 million", "5,000,000", True),
        ("### $1.5 million dollars", "1500000", True),
        ("### 5 hundred thousand", "500,000", True),
        ("### 5 hundred twenty", "500", False),
        ("### 5 and a half", "5", False),
        ("### 5\u00bd", "5", False),
        ("### 5\u00b2", "5", False),
        ("### 5k", "5", False),
        ("### $5m", "5", False),
        ("### 5 m", "5", True),
        ("### 5 kg a day", "5", True),
        ("### 3 quarters", "3", True),
        ("### \uff15", "5", True),
        ("### 10:30", "10", False),
        ("### 1 1/2", "1", False),
    ],
)
def test_numbers_are_compared_as_numbers(text: str, gold: str, right: bool) -> None:
    assert same_number(text, gold) is right


@given(st.fractions(), st.sampled_from(["", " ", ".", " apples", " (about)"]))
def test_a_number_is_read_exactly(value: Fraction, unit: str) -> None:
    assert number(f"{value}{unit}") == value
    assert number(f"{value}% of them") == value / 100


@given(st.text(alphabet="0123456789.,/-+%$ emk:#\n\u2212", max_size=12), st.sampled_from(["1,000", "-3", "50%", "1/2"]))
def test_what_is_correct_as_text_is_correct_as_a_number(written: str, gold: str) -> None:
    assert same_number(written, gold) or not same_text(written, gold)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 10**6,
        "." * 10**6,
        "0." + "1" * 10**6,
        "-" + " " * 10**6 + "x",
        "5" + " " * 10**6 + "/x7",
        "1/" + "3" * 10**6,
        "5 " + "x" * 10**6 + " 7",
        "5" + " million" * 10**5,
        "1e999999999",
        "1e" + "9" * 10**6,
        "1000e-1000",
    ],
    ids=lambda text: f"{text[:6]} of {len(text)}",
)
def test_what_is_too_long_for_a_number_is_none(text: str) -> None:
    """Quadratic work would not end here, and the value of 1e999999999 would take gigabytes."""
    assert number(text) is None


def test_a_long_unit_does_not_hide_a_number() -> None:
    assert number("5 " + "x " * 10**5) == 5
    assert number("1e999") == Fraction(10) ** 999


def test_numbers_are_reported_over_the_answers_that_are_numbers() -> None:
    others = [Example("When?", (), "10:30"), Example("Really?", (), "True")]
    written = [Prediction("### 1000.0", 1, 0), Prediction("### 10:30", 1, 0), Prediction("### True", 1, 0)]
    metrics = Evaluation([TEN, *others], written, 1.0).metrics()
    assert metrics["accuracy"] == 2 / 3
    assert (metrics["accuracy_number"], metrics["n_number"]) == (1.0, 1)
    metrics = Evaluation(others, written[1:], 1.0).metrics()
    assert not {"accuracy_number", "n_number"} & metrics.keys()


def test_metrics_are_means_over_the_examples() -> None:
    predictions = [Prediction("### 1000", 4, 2), Prediction("### 3", 6, 2)]
    evaluation = Evaluation([TEN, TEN], predictions, seconds=3.0)
    assert evaluation.metrics() == {
        "n": 2, "accuracy": 0.5, "tokens": 5.0, "thoughts": 2.0, "seconds_per_example": 1.5, "precision": "fp32",
        "accuracy_number": 0.5, "n_number": 2,
    }  # fmt: skip
    assert [record["correct"] for record in evaluation.records()] == [True, False]


def test_outcome_classes_come_with_graphs() -> None:
    graph = {"idx_to_symbol": ["Tom", "lempus", "yimpus"], "edges": [[0, 1]], "root": 0, "target": 1, "neg_target": 2}
    example = Example("Tom is a lempus. Is Tom a lempus or yimpus?", ("Tom is a lempus.",), "Tom is a lempus.", graph)
    written = Prediction("Tom is a lempus.\n### Tom is a lempus.", 12, 0)
    outcomes = Evaluation([example, TEN], [written, Prediction("", 0, 0)], 1.0).metrics()["outcomes"]
    assert sum(outcomes.values()) == 1.0  # The example without a graph has no outcome.
    assert max(outcomes, key=outcomes.get) == "correct_path"
