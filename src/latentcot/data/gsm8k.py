"""GSM8k and what is measured beside it: the rows of the published files, and where they are on the hub.

GSM8k-Aug is GSM8K's training set grown to 385,620 problems whose steps are bare calculations (Deng et al. 2024, arXiv
2405.14838; the COCONUT paper's section 4.1). SVAMP, GSM-Hard and MultiArith have no steps: they are for evaluation out
of distribution.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from latentcot.core import UserError


@dataclass(frozen=True)
class HubSet:
    """A data set on the hub, with its splits; the first is the one that its bare name means."""

    repository: str
    splits: tuple[str, ...]
    config: str | None = None
    local: str = "its JSON, JSONL or Parquet file"
    """What to read instead where the hub cannot be reached."""


HUB = {
    "gsm8k-aug": HubSet(
        "whynlp/gsm8k-aug",
        ("train", "validation", "test"),
        local="its text file (lines 'question||<<4-2=2>> #### 2') or its Parquet files",
    ),
    "gsm8k": HubSet("openai/gsm8k", ("train", "test"), "main", "its train.jsonl or test.jsonl"),
    "svamp": HubSet("ChilleD/SVAMP", ("test", "train")),
    "gsm-hard": HubSet("reasoning-machines/gsm-hard", ("train",)),
    "multiarith": HubSet("ChilleD/MultiArith", ("test", "train")),
}

CALCULATION = re.compile(r"<<[^<>]*>>")
"""A calculator annotation in a written solution, as in `48/2 = <<48/2=24>>24 clips`."""

MOST_ZEROS = 400
"""So many zeros are written out of a number with an exponent; those of a double are under 330."""

_STEP = re.compile(r"(?:<<[^<>]*>>|\S)+")
"""What stands between spaces outside of calculations."""

# Possessive quantifiers give back nothing, so matching takes linear time.
_NUMBER = re.compile(r"[-+]?[$€£]?(?=[.,]*+\d)[\d.,]++([eE][-+]?\d++)?([/:]\d++)?%?")


def line_record(line: str, cut: Callable[[str], list[str]] | None = None) -> dict[str, Any]:
    """A line of GSM8k-Aug's text files: `question||<<4-2=2>> <<2/.5=4>> #### 4`, whose last `||` parts.

    `cut` makes steps of the chain; without it they are what stands between spaces, a calculation with spaces in it
    being one. The answer of calculations is a number; that of any other chain is a text (`1 3 0`, digits apart).
    """
    head, mark, answer = line.rpartition("####")
    question, bars, chain = head.rpartition("||")
    if "||" not in line:
        raise UserError("no || between question and steps: give 'question||<<4-2=2>> #### 2'")
    if not mark or not bars:
        raise UserError("no #### before the answer: give 'question||<<4-2=2>> #### 2'")
    if "####" in head:
        raise UserError("#### stands there twice: give one record a line")
    calculated = CALCULATION.search(chain) is not None
    return {
        "question": question.strip(),
        "steps": cut(chain) if cut else _STEP.findall(chain),
        "answer": require_number(answer) if calculated else answer.strip(),
    }


def solution_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the original GSM8K: the steps are the calculator annotations of its solution, in order.

    A solution without annotations (about 1 in 100) has no steps.
    """
    solution, mark, answer = str(row["answer"]).rpartition("####")
    if not mark:
        raise UserError('no #### before the answer in "answer": add it')
    return {"question": row["question"], "steps": CALCULATION.findall(solution), "answer": require_number(answer)}


def svamp_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of SVAMP: the story, then the question."""
    question = f"{row['Body']} {row['Question']}".strip()
    return {"question": question, "steps": [], "answer": plain_number(row["Answer"])}


def gsm_hard_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of GSM-Hard."""
    return {"question": row["input"], "steps": [], "answer": plain_number(row["target"])}


def multiarith_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of MultiArith."""
    return {"question": row["question"], "steps": [], "answer": plain_number(row["final_ans"])}


def require_number(text: str) -> str:
    """The text without outer space; UserError unless it is a number, as people write numbers (`1,200`, `$5`, `3/4`)."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise UserError(f"the answer {text!r:.40} is not a number: give one")
    return text


def plain_number(value: Any) -> str:
    """A number, or a text of one, as a solution writes it: 145.0 is `145`, 1e-05 is `0.00001`; UserError otherwise."""
    text = str(value).replace(",", "").strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise UserError(f"the answer {value!r:.40} is not a number: give one")
    if abs(number.adjusted()) > len(text) + MOST_ZEROS:
        raise UserError(f"the answer {value!r:.40} has too many zeros to be written out: give a smaller number")
    return f"{number.to_integral_value() if number == number.to_integral_value() else number:f}"
