"""When an answer is right: the published string rule, and numbers compared as numbers.

Accuracy is always by the string rule, which the paper's figures are; where gold answers are numbers, accuracy by the
number rule stands beside it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from latentcot.tokens import final_answer

_NUMBER = re.compile(
    r"""(?P<sign>[-+]?) \s* [$€£]? \s* (?P<digits> \d+ (?:\.\d*)? (?:[eE][-+]?\d{1,3})? | \.\d+ )
        (?: \s*/\s* (?P<below>\d+) )? (?P<unit> [^\d]* )""",
    re.VERBOSE,
)


def same_text(text: str, gold: str) -> bool:
    """The published rule: what follows the last `###` is the gold answer, commas and outer space aside."""
    return final_answer(text) == final_answer(gold)


def same_number(text: str, gold: str) -> bool:
    """The number rule: what follows the last `###` is a number equal to the gold one, so 1,000 = 1000 = 1000.0 = $1000.

    A unit or full stop after it does not hide it; a second number does. False where either is no number.
    """
    written, wanted = number(final_answer(text)), number(final_answer(gold))
    return written is not None and written == wanted


def number(text: str) -> Fraction | None:
    """The one number that a text without commas is, exactly, be there a currency sign before it or a unit after it."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found["below"] and not int(found["below"])):
        return None
    value = Fraction(found["digits"]) / int(found["below"] or 1)
    return -value if found["sign"] == "-" else value
