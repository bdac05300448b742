"""Intervals against scipy's own and against what they promise: the share of samples in which they hold the truth."""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from latentcot.evaluation.statistics import student, wilson


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.99))
def test_wilson_is_scipys(counts: tuple[int, int], level: float) -> None:
    interval = binomtest(*counts).proportion_ci(level, method="wilson")
    assert wilson(*counts, level) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6, unique=True))
def test_student_is_scipys(values: list[float]) -> None:
    if max(values) - min(values) < 1e-6:  # Rounding eats the spread, of which scipy then warns.
        return
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert student(values) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, draws, held = random.Random(0), 4000, [0, 0]
    for _ in range(draws):
        low, high = student([rng.gauss(0.7, 0.02) for _ in range(3)])
        held[0] += low <= 0.7 <= high
        low, high = wilson(sum(rng.random() < 0.7 for _ in range(200)), 200)
        held[1] += low <= 0.7 <= high
    # Four standard errors of a share of 4000 draws are 0.014; counts are discrete, so Wilson's may be off by more.
    assert held[0] / draws == pytest.approx(0.95, abs=0.014)
    assert held[1] / draws == pytest.approx(0.95, abs=0.02)


def test_what_has_no_interval_is_refused() -> None:
    for right, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="is no share"):
            wilson(right, n)
    with pytest.raises(ValueError, match="give two or more"):
        student([0.5])
    assert student([0.5, 0.5]) == (0.5, 0.5)
    assert mean(student([0.1, 0.2, 0.6])) == pytest.approx(0.3)
