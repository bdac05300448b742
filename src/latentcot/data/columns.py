"""Rows to records: which columns hold question, steps and answer, told by their names or stated by the user."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from latentcot.core import UserError
from latentcot.data import gsm8k
from latentcot.data.files import Row, kind

FIELDS = ("question", "steps", "answer")

HEAD = 100
"""Rows that are looked at to tell what the columns are."""

MARKS = re.compile("#{3,4}")
"""What stands before an answer unless the user states something else."""


@dataclass(frozen=True)
class Columns:
    """Where a source of your own has its question, steps and answer; what the columns' names tell is left out."""

    question: str | None = None
    """The column of the question."""
    steps: str | None = None
    """The column of the steps: lists, or texts that `separator` cuts."""
    answer: str | None = None
    """The column of the answer. Where there is none of steps: of texts that end in `mark` and the answer."""
    separator: str | None = None
    r"""What stands between steps in one text (\n: a line break). An empty one leaves the text one step."""
    mark: str | None = None
    """What stands before the answer in a text that has the steps before it; #### or ### if left out."""


AS_NAMED = Columns()


@dataclass(frozen=True)
class Layout:
    """How a row becomes a record."""

    columns: tuple[str, ...]
    """What the row must have."""
    record: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Question, steps and answer of the row; UserError with the fault where it has none."""


RECORDS = Layout((), lambda row: {field: row[field] for field in FIELDS if field in row})
"""The record format itself."""

PUBLISHED = {
    ("Body", "Question", "Answer"): Layout(("Body", "Question", "Answer"), gsm8k.svamp_record),
    ("input", "code", "target"): Layout(("input", "target"), gsm8k.gsm_hard_record),
    ("question", "final_ans"): Layout(("question", "final_ans"), gsm8k.multiarith_record),
}
"""Published data sets by the columns that tell them."""


def to_records(name: str, rows: Iterator[Row], columns: Columns, table: bool) -> Iterator[Row]:
    """Each row as a record, its other columns kept beside question, steps and answer; a `UserError` where it has none.

    `table` says that every row has the same columns and that numbers stand for their text. UserError, with the
    source's `name`, for a column or a separator that no row has.
    """
    head = list(islice(rows, HEAD))
    cutter = Cutter(columns.separator)
    objects = [row for _, row in head if isinstance(row, dict)]
    layout = _layout(objects, columns, cutter, table)
    _require_columns(name, objects, layout, columns)
    for place, row in chain(head, rows):
        yield place, _record(row, layout)
    if cutter.missed:
        raise UserError(
            f"{name}: the separator {columns.separator!r} stands in no steps: mend columns.separator, "
            "or make it empty if every chain is one step"
        )


class Cutter:
    """Cuts texts into steps, and remembers whether its separator was ever there."""

    def __init__(self, separator: str | None) -> None:
        self.separator = separator and separator.replace("\\n", "\n").replace("\\t", "\t")
        self.texts = self.separated = 0

    @property
    def missed(self) -> bool:
        """Whether there were texts, and the stated separator in none of them."""
        return bool(self.separator and self.texts and not self.separated)

    def __call__(self, text: str, default: str = "") -> list[str]:
        """The steps, without outer space; none in a blank text."""
        separator = default if self.separator is None else self.separator
        self.texts += bool(text.strip())
        self.separated += separator in text
        return [step.strip() for step in (text.split(separator) if separator else [text]) if step.strip()]


def _layout(rows: Sequence[dict[str, Any]], columns: Columns, cutter: Cutter, table: bool) -> Layout:
    """What the rows' columns tell, unless the user states them."""
    names = {name for row in rows for name in row}
    question, steps, answer = (getattr(columns, field) or field for field in FIELDS)
    stated = any(getattr(columns, field) for field in FIELDS)
    if not stated and not names >= set(FIELDS):
        if names == {"text"}:
            return Layout(("text",), lambda row: gsm8k.line_record(str(row["text"])))
        if "messages" in names:
            return Layout(("messages",), lambda row: _conversation(row["messages"], cutter, columns.mark))
        if names >= {"prompt", "completion"}:
            return Layout(("prompt", "completion"), lambda row: _completion(row, cutter, columns.mark))
        for keys, layout in PUBLISHED.items():
            if names >= set(keys):
                return layout
    if steps not in names and columns.steps is None and _have_marks(rows, answer, columns.mark):
        if not stated and columns.mark is None and any(gsm8k.CALCULATION.search(str(row.get(answer))) for row in rows):
            return Layout((question, answer), gsm8k.solution_record)
        return Layout(
            (question, answer),
            lambda row: {"question": _text(row[question]), **_solution(row[answer], answer, cutter, columns.mark)},
        )
    if stated or table or cutter.separator is not None:
        return Layout(
            (question, steps, answer),
            lambda row: {
                "question": _text(row[question]),
                "steps": _steps(row[steps], steps, cutter),
                "answer": _text(row[answer]),
            },
        )
    return RECORDS


def _have_marks(rows: Sequence[dict[str, Any]], answer: str, mark: str | None) -> bool:
    """Whether some row has an answer with its steps before it; where the user states the mark, any row should."""
    texts = [row[answer] for row in rows if isinstance(row.get(answer), str)]
    return bool(texts) and (mark is not None or any(MARKS.search(text) for text in texts))


def _require_columns(name: str, rows: Sequence[dict[str, Any]], layout: Layout, columns: Columns) -> None:
    missing = [column for column in layout.columns if rows and not any(column in row for row in rows)]
    if missing:
        field = next((field for field in FIELDS if (getattr(columns, field) or field) == missing[0]), "question")
        there = ", ".join(dict.fromkeys(column for row in rows for column in row))
        raise UserError(f"{name}: no column {missing[0]!r}: name one of {there} with columns.{field}")


def _record(row: Any, layout: Layout) -> Any:
    if not isinstance(row, dict):
        return row
    for column in layout.columns:
        if row.get(column) is None:
            return UserError(f'"{column}" is {"null" if column in row else "missing"}: fill it in')
    try:
        record = layout.record(row)
    except UserError as error:
        return error
    return record | {key: value for key, value in row.items() if key not in (*FIELDS, *layout.columns)}


def _text(value: Any) -> Any:
    """A number as its text. Anything else stays, and is a fault if it is no text."""
    return gsm8k.plain_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _steps(value: Any, column: str, cutter: Cutter) -> Any:
    """The steps of a cell: a list, also one written as JSON, or a text that the separator cuts."""
    if isinstance(value, str) and cutter.separator is None:
        if not value.strip():
            return []
        try:
            value = json.loads(value)
        except ValueError:
            value = None
        if not isinstance(value, list):
            raise UserError(f'"{column}" is text, not a list: state columns.separator, which stands between its steps')
    if isinstance(value, str):
        return cutter(value)
    return [_text(step) for step in value] if isinstance(value, list) else value


def _solution(text: Any, column: str, cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """Steps and answer of a text that has the answer last, after its mark."""
    if not isinstance(text, str):
        raise UserError(f'"{column}" is {kind(text)}, not text: give steps, a mark and the answer')
    marks = [*(re.finditer(re.escape(mark), text) if mark else MARKS.finditer(text))]
    if not marks:
        shown = mark or "#### or ###"
        raise UserError(f'"{column}" has no answer mark {shown}: put it before the answer, or state columns.mark')
    return {"steps": cutter(text[: marks[-1].start()], "\n"), "answer": text[marks[-1].end() :].strip()}


def _completion(row: Mapping[str, Any], cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """A prompt and its completion, as texts or as messages."""
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _conversation([*prompt, *completion], cutter, mark)
    return {"question": prompt, **_solution(completion, "completion", cutter, mark)}


def _conversation(messages: Any, cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """The question of the user and the solution of the assistant; a message of the system is left out."""
    said: dict[Any, list[Any]] = {"user": [], "assistant": []}
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            said.setdefault(message.get("role"), []).append(message.get("content"))
    if len(said["user"]) != 1 or len(said["assistant"]) != 1:
        raise UserError(
            f"{len(said['user'])} messages of the user and {len(said['assistant'])} of the assistant: give one of each"
        )
    return {"question": said["user"][0], **_solution(said["assistant"][0], "assistant", cutter, mark)}
