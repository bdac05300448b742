"""Texts that hold a chain and, last, its answer: `#### 7`, a solution with `\boxed{7}`, a trace in `<think>`."""

from __future__ import annotations

import re

from latentcot.core import UserError

MARKS = re.compile("#{3,4}")
"""What stands before an answer unless the user states something else."""

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_MARKS = (r"\boxed", r"\boxed{")
"""How a user may state that answers are boxed."""

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
"""A brace, or an escaped character, which is none."""

_TRACE = re.compile("</?think>")

_ALONE = re.compile(r"\W*")
"""What may stand beside a box in a line that says nothing else: dollars, a full stop, brackets."""


def has_solution(text: str) -> bool:
    """Return whether a text has a mark of an answer or a trace of thinking in it."""
    return bool(MARKS.search(text) or _BOX.search(text) or "</think>" in text)


def split_solution(text: str, mark: str | None = None) -> tuple[str, str]:
    """Return the text of a chain and its answer, which follows the last `mark` or stands in the last box.

    Without a stated mark, the last of `####`, `###` and `\boxed{}` counts, and what follows `</think>` is an answer
    without any if it is one line. A trace of thinking is the chain, and what is said after it but the answer is left
    out; else a box is replaced by its content. UserError where there is no answer, or more than one place for it.
    """
    if "<think>" in text and "</think>" not in text:
        raise UserError("has <think> without </think>: it breaks off there, so leave that record out")
    trace, closed, closing = text.rpartition("</think>")
    found = _split(closing, mark)
    if not closed:
        if found is None:
            raise UserError(
                f"has no answer mark {mark or '#### or ###'}{'' if mark else ' and no box'}: put it before the answer, "
                "or state columns.mark"
            )
        return found
    if found is None and mark is None and len(closing.strip().splitlines()) == 1:
        found = "", closing.strip()
    if found is None:
        raise UserError(
            f"has no answer mark {mark or '#### or ###'}{'' if mark else ' and no box'} after </think>: put one before "
            "the answer, or state columns.mark"
        )
    return without_tags(trace), found[1]


def without_tags(text: str) -> str:
    """Return a trace of thinking without `<think>` and `</think>`."""
    return _TRACE.sub("\n", text) if "think>" in text else text


def unbox(text: str) -> str:
    """Return the content of a box that is all of a text, as in `$\boxed{7}$`; any other text as it is."""
    box = _last_box(text)
    return box[2] if box and _ALONE.fullmatch(text[: box[0]]) and _ALONE.fullmatch(text[box[1] :]) else text


def _split(text: str, mark: str | None) -> tuple[str, str] | None:
    """Return what stands before the answer, and the answer; None where no answer is marked."""
    box = _last_box(text) if mark is None or mark in _BOX_MARKS else None
    if mark is not None and mark not in _BOX_MARKS:
        before, found, answer = text.rpartition(mark)
        return (before, answer.strip()) if found else None
    marks = list(MARKS.finditer(text)) if mark is None else []
    if box and (not marks or box[0] > marks[-1].start()):
        return _without_box(text, box), box[2]
    if not marks:
        return None
    if sum(len(one[0]) == len(marks[-1][0]) for one in marks) > 1:
        raise UserError(f"has {marks[-1][0]} more than once: state columns.mark, whose last one then counts")
    return text[: marks[-1].start()], text[marks[-1].end() :].strip()


def _last_box(text: str) -> tuple[int, int, str] | None:
    """Return where the last box begins and ends, and what its braces hold; UserError if they are not closed."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, boxes[-1].end()):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return boxes[-1].start(), brace.end(), text[boxes[-1].end() : brace.start()].strip()
    raise UserError(r"has \boxed{ without its closing brace: add it")


def _without_box(text: str, box: tuple[int, int, str]) -> str:
    """Return the text with the box replaced by its content, without a line that holds nothing else."""
    before, after = text[: box[0]], text[box[1] :]
    (rest, _, head), (tail, _, following) = before.rpartition("\n"), after.partition("\n")
    if _ALONE.fullmatch(head) and _ALONE.fullmatch(tail):
        return f"{rest}\n{following}"
    return before + box[2] + after
