"""Is a generated sample like a published one? Tolerances come from the sizes of the samples."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from math import sqrt
from statistics import stdev

from latentcot.core import Example

BATCH = 200


def far_off(
    statistics: Callable[[Sequence[Example]], Mapping[str, float]],
    generated: Sequence[Example],
    reference: Mapping[str, float],
    size: int,
    rows: Collection[str],
) -> dict[str, tuple[float, float]]:
    """Rows that are more than 4 standard errors from those of `size` reference questions.

    The error of a row follows from how it differs from one batch of generated questions to the next.
    """
    batches = [statistics(generated[start : start + BATCH]) for start in range(0, len(generated), BATCH)]
    ours = statistics(generated)
    errors = {row: stdev(batch[row] for batch in batches) * sqrt(BATCH / size + BATCH / len(generated)) for row in rows}
    return {row: (ours[row], reference[row]) for row in rows if abs(ours[row] - reference[row]) > 4 * errors[row]}


def chi_square(first: Counter[object], second: Counter[object]) -> float:
    """Chi-square of two samples as standard deviations of a normal variable (Wilson and Hilferty's cube root)."""
    ratio = sqrt(first.total() / second.total())
    kinds = first.keys() | second.keys()
    total = sum((first[kind] / ratio - second[kind] * ratio) ** 2 / (first[kind] + second[kind]) for kind in kinds)
    spread = 2 / (9 * (len(kinds) - 1))
    return ((total / (len(kinds) - 1)) ** (1 / 3) - (1 - spread)) / sqrt(spread)
