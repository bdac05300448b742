"""When an answer is correct: the published string rule, and numbers compared as numbers.

Accuracy is always by the string rule, as in the paper. Where gold answers are numbers, accuracy by the number rule
stands beside it.
"""

from __future__ import annotations

import re
from fractions import Fraction

from latentcot.tokens import ANSWER_MARK, final_answer

MAX_DIGITS = 1000
"""Longest run of digits that is read as a number: work and memory stay small, whatever a model writes."""

_SIGN = r"[-+\u2212\u2013\ufe63\uff0d]?"
"""Plus, hyphen, minus sign, en dash, small and full-width hyphen."""

# Possessive quantifiers give back nothing, so matching takes linear time.
_NUMBER = re.compile(
    rf"""(?P<outer>{_SIGN}) \s*+ (?P<currency>[$€£¥₹₩]?) \s*+ (?P<inner>{_SIGN}) \s*+
        (?P<digits> (?=\.?\d) \d{{0,{MAX_DIGITS}}}+ (?:\.\d{{0,{MAX_DIGITS}}}+)? (?:[eE][-+]?\d{{1,3}}+)? )
        (?: \s*+ / \s*+ (?P<below>\d{{1,{MAX_DIGITS}}}+) )?""",
    re.VERBOSE,
)

_SCALES: dict[str, Fraction | int] = {
    "%": Fraction(1, 100),  # What is less than 1 ends the scale: 5%% is no number.
    "percent": Fraction(1, 100),
    "‰": Fraction(1, 1000),
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""What multiplies the digits before it."""

_NUMBER_WORDS = re.compile(
    r"(two|three|four|five|six|seven|eight|nine|(six|seven|eigh|nine)teen|ten|eleven|twelve|(thir|four|fif)teen"
    r"|twenty|(thir|for|fif|six|seven|eigh|nine)ty|(hundred|thousand|million|billion|trillion)(s|ths?)?"
    r"|half|halves|thirds?|quarter|tenths?|percent|[%‰])"
)
"""Further parts of a number. `one` and `quarters` (coins) are left out, since they are seldom such a part."""

_ABBREVIATIONS = frozenset(["k", "K", "M", "B", "bn", "mn"])
"""Scales or units (K: thousand or kelvin): nobody can tell."""


def same_text(text: str, gold: str) -> bool:
    """Return whether the text after the last `###` is the gold answer, without commas and outer space.

    The published rule. A text without `###` has no answer, so it is incorrect. (The official code cuts at the last
    `#`, which is the same wherever a text has no other `#`.)
    """
    return ANSWER_MARK in text and final_answer(text) == final_answer(gold)


def same_number(text: str, gold: str) -> bool:
    """Return whether what follows the last `###` is a number equal to the gold one: 1,000 = 1000.0 = $1000.

    See `number` for what is one; False where either is none, or where the text has no `###`.
    """
    written, wanted = number(final_answer(text)), number(final_answer(gold))
    return ANSWER_MARK in text and written is not None and written == wanted


def number(text: str) -> Fraction | None:
    """Return the exact value of a text without commas that is one number, or None.

    A sign, also U+2212 or a dash, may stand before or after a currency sign, and a unit after the digits. A percentage
    is a share: 50% is 0.5, so it equals neither 50 nor 5000%. Words of scale multiply: `5 million` is 5,000,000. None
    where anything else after the digits belongs to the number or makes another one (`10:30`, `5 and a half`, `5²`,
    `5k`), and beyond `MAX_DIGITS` digits or three digits of exponent.
    """
    text = text.strip()
    found = _NUMBER.match(text)
    if found is None or (found["outer"] and found["inner"]) or (found["below"] and not int(found["below"])):
        return None
    scale = _scale(text[found.end() :], bool(found["currency"]))
    if scale is None:
        return None
    value = Fraction(found["digits"]) / int(found["below"] or 1) * scale
    return value if (found["outer"] or found["inner"]) in ("", "+") else -value


def _scale(rest: str, currency: bool) -> Fraction | None:
    """Return what the text after a number's digits multiplies it by (1 for a unit), or None if it changes the number
    in another way."""
    if any(character.isnumeric() for character in rest):
        return None
    words = re.findall(r"[%‰]|[^\W\d_]+", rest)
    if words[:1] and (words[0] in _ABBREVIATIONS or (currency and words[0] in ("m", "b"))):
        return None
    scale, place = Fraction(1), 0
    while scale >= 1 and place < min(len(words), 3) and (factor := _SCALES.get(words[place].lower())):
        scale, place = scale * factor, place + 1
    return None if any(_NUMBER_WORDS.fullmatch(word.lower()) for word in words[place:]) else scale
