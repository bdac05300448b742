"""Intervals of what is estimated from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, mean, stdev


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, `right` of `n` (Wilson 1927), which holds for small n and at both ends.

    ValueError unless 0 <= right <= n and n > 0.
    """
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} of {n} is no share")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, denominator = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / denominator
    half = z / denominator * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # In exact arithmetic the ends of none and of all are 0 and 1.
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean, as of accuracies over seeds; for a share, cut the ends off at 0 and 1.

    ValueError unless there are two values or more.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values have no spread: give two or more")
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean(values) - half, mean(values) + half
