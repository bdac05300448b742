"""What every number may be: a `Range` in the type of an option, and one check of all of them.

    lr: Positive = 1e-4                           # of a dataclass, whose __post_init__ calls `require_ranges`
    def run_eval(limit: Count | None = None)      # of a verb, whose values the command line checks

NaN and infinity are in no range.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from latentcot.core import UserError

FINITE = sys.float_info.max
MANY = 1_000_000_000
"""More than a count can sensibly be, and less than overflows anything that counts (`itertools.islice`, int32)."""


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`, less those ends that are left out."""

    least: float
    most: float = FINITE
    without_least: bool = False
    without_most: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.least if self.without_least else value >= self.least
        return above and (value < self.most if self.without_most else value <= self.most)

    def mend(self, value: float) -> str:
        """Return what to give instead of `value`, in words."""
        low = f"more than {self.least:,}" if self.without_least else f"{self.least:,} or more"
        high = f"less than {self.most:,}" if self.without_most else f"{self.most:,} or less"
        if self.most in (FINITE, MANY):  # Such an end is worth no word unless it was passed.
            return low if not value > self.most else "a finite number" if self.most == FINITE else high
        return f"{low}, and {high}" if self.without_least or self.without_most else f"{self.least:,} to {self.most:,}"


Count = Annotated[int, Range(1, MANY)]
CountOrZero = Annotated[int, Range(0, MANY)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""NumPy takes no others."""
Positive = Annotated[float, Range(0, without_least=True)]
PositiveOrZero = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, without_most=True)]


@dataclass(frozen=True)
class Number:
    """An option that is a number: its type, its range, and whether it may be left out."""

    kind: type
    range: Range
    optional: bool


@cache
def numbers_of(owner: type | Callable[..., Any]) -> dict[str, Number]:
    """Return the fields of a dataclass, or the parameters of a function, that have a range."""
    found = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        kinds = (hint,) if get_origin(hint) is Annotated else get_args(hint)
        for kind in kinds:
            if get_origin(kind) is Annotated and isinstance(kind.__metadata__[0], Range):
                found[name] = Number(kind.__origin__, kind.__metadata__[0], type(None) in kinds)
    return found


def require_ranges(owner: type | Callable[..., Any], values: Mapping[str, Any], prefix: str) -> None:
    """Raise UserError for the first of the owner's values that is not in its range, with `prefix` before its name."""
    for name, number in numbers_of(owner).items():
        value = values[name]
        if value is None and number.optional:
            continue
        fits = isinstance(value, Integral if number.kind is int else Real)
        if isinstance(value, bool) or not fits:
            raise UserError(f"{prefix}{name} is {value!r}: give a {'whole ' if number.kind is int else ''}number")
        amount: Any = value
        if amount not in number.range:
            left_out = ", or leave it out" if number.optional else ""
            raise UserError(f"{prefix}{name} is {amount}: give {number.range.mend(amount)}{left_out}")
