"""Intervals of what is estimated from a sample."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share, `right` of `n`. It holds for few cases and for shares near 0 or 1.

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
