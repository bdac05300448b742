"""Which records of a data set to keep, by the number of their steps and by their length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from latentcot.core import Example, UserError
from latentcot.ranges import CountOrZero, require_ranges


@dataclass(frozen=True)
class Filter:
    """Limits, each of them included; without any, all records are kept."""

    min_steps: CountOrZero | None = None
    """Fewest steps of a record that is kept."""
    max_steps: CountOrZero | None = None
    """Most steps."""
    min_words: CountOrZero | None = None
    """Fewest words of question, steps and answer together."""
    max_words: CountOrZero | None = None
    """Most words."""

    def __post_init__(self) -> None:
        require_ranges(Filter, vars(self), "filter.")
        for what in ("steps", "words"):
            low, high = self.limits().get(f"min_{what}"), self.limits().get(f"max_{what}")
            if low is not None and high is not None and low > high:
                raise UserError(f"filter.min_{what} {low} is above filter.max_{what} {high}: no record is kept")

    def limits(self) -> dict[str, int]:
        """The limits that are set, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def keep(self, examples: Iterable[Example], dropped: Counter[str]) -> Iterator[Example]:
        """The examples inside the limits; `dropped` counts the others, each under the first limit that it breaks.

        UserError if all were dropped.
        """
        limits, kept = self.limits(), False
        dropped.update(dict.fromkeys(limits, 0))
        for example in examples:
            broken = _broken(example, limits)
            if broken is None:
                kept = True
                yield example
            else:
                dropped[broken] += 1
        if not kept:
            raise UserError(
                f"no record is left of {sum(dropped.values()):,} ({shown(self, dropped)}): widen the filter"
            )


NO_FILTER = Filter()


def shown(limits: Filter, dropped: Counter[str]) -> str:
    """What each limit dropped, as in `min_steps 1 dropped 82`; empty without limits."""
    return ", ".join(f"{name} {limit} dropped {dropped[name]:,}" for name, limit in limits.limits().items())


def _broken(example: Example, limits: dict[str, int]) -> str | None:
    """The first limit that an example breaks."""
    for name, limit in limits.items():
        value = len(example.steps) if name.endswith("steps") else _words(example)
        if value < limit if name.startswith("min") else value > limit:
            return name
    return None


def _words(example: Example) -> int:
    return sum(len(text.split()) for text in (example.question, *example.steps, example.answer))
