"""Rows to records: which columns hold question, steps and answer, told by their names or stated by the user."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import chain, islice
from typing import Any

from latentcot.core import UserError
from latentcot.data import gsm8k, prontoqa
from latentcot.data.files import Row, kind
from latentcot.data.solutions import MARKS, has_solution, split_solution, unbox, without_tags

FIELDS = ("question", "steps", "answer")

USUAL = {
    "question": ("problem", "query"),
    "steps": ("cot", "chain_of_thought", "rationale", "reasoning", "solution"),
    "answer": ("final_answer", "expected_answer"),
}
"""What else columns are called that hold a field, where none has the field's own name."""

HEAD = 100
"""Rows that are looked at to tell what the columns are."""


@dataclass(frozen=True)
class Columns:
    """Where a source of your own has its question, steps and answer; what the columns' names tell is left out."""

    question: str | None = None
    """The column of the question."""
    steps: str | None = None
    """The column of the steps: lists, or texts that `separator` cuts. The answer's, if its texts hold the steps too."""
    answer: str | None = None
    """The column of the answer. Where there is none of steps: of texts that end in `mark` and the answer."""
    separator: str | None = None
    r"""What stands between steps in one text (\n: a line break). An empty one leaves the text one step."""
    mark: str | None = None
    r"""What stands before the answer in a text that has the steps before it; #### or ###, or \boxed{} around it, if
    left out."""


AS_NAMED = Columns()


@dataclass(frozen=True)
class Layout:
    """How a row becomes a record."""

    uses: tuple[str, ...]
    """The columns that are read; all others are kept beside question, steps and answer."""
    record: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Question, steps and answer of the row; UserError with the fault where it has none."""
    needs: tuple[str, ...] = ()
    """Those in which every row needs a value, as far as `records` does not tell it with a record's other faults."""


_PRONTOQA = ("question", "query", "chain_of_thought", "answer")

PUBLISHED = {
    ("Body", "Question", "Answer"): Layout(("Body", "Question", "Answer"), gsm8k.svamp_record),
    ("input", "code", "target"): Layout(("input", "target"), gsm8k.gsm_hard_record),
    ("question", "final_ans"): Layout(("question", "final_ans"), gsm8k.multiarith_record),
    ("test_example",): Layout(("test_example",), lambda row: prontoqa.generator_record(row["test_example"])),
    _PRONTOQA: Layout(_PRONTOQA, prontoqa.generator_record),
}
"""Published data sets by the columns that tell them."""


def to_records(name: str, rows: Iterator[Row], columns: Columns, table: bool) -> Iterator[Row]:
    """Each row as a record, its other columns kept beside question, steps and answer; a `UserError` where it has none.

    Numbers, true and false stand for their text. A row without steps, or with blank ones alone, has none. `table` says
    that every row has the same columns. UserError, with the source's `name`, for a column or a separator that no row
    has, and for columns that could be meant as well as others.
    """
    head = list(islice(rows, HEAD))
    cutter = Cutter(columns.separator)
    objects = [row for _, row in head if isinstance(row, dict)]
    try:
        layout = _layout(objects, columns, cutter, table)
        _require_columns(objects, (*layout.needs, *([columns.steps] if columns.steps else [])), columns)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    taken = frozenset((*FIELDS, *layout.uses))
    for place, row in chain(head, rows):
        yield place, _record(row, layout, taken)
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
    names = list(dict.fromkeys(name for row in rows for name in row))
    stated = any(getattr(columns, field) for field in FIELDS)
    if not stated and not set(FIELDS) <= set(names) and (layout := _named_layout(names, columns, cutter)):
        return layout
    question, steps, answer = (_column(field, names, columns) for field in FIELDS)
    solution = _solution_column(rows, columns, steps, answer)
    if solution is not None:
        keys = question, solution
        if not stated and columns.mark is None and _is_calculated(rows, solution):
            return Layout(keys, partial(_from_calculations, question=question, solution=solution), keys)
        read = partial(_from_solution, question=question, solution=solution, cutter=cutter, mark=columns.mark)
        return Layout(keys, read, keys)
    texts = [row[steps] for row in rows if isinstance(row.get(steps), str)]
    canonical = (question, steps, answer) == FIELDS
    read_row = partial(
        _from_columns,
        names=(question, steps, answer),
        cutter=cutter,
        default="\n" if any("\n" in text.strip() for text in texts) else None,
        mark=columns.mark,
        unboxed=not canonical,
    )
    return Layout((question, steps, answer), read_row, (question, answer) if stated or table or not canonical else ())


def _named_layout(names: Collection[str], columns: Columns, cutter: Cutter) -> Layout | None:
    """The layout of a known format that has other columns than ours; None if there is none."""
    if set(names) == {"text"}:
        cut = cutter if cutter.separator is not None else None
        return Layout(("text",), lambda row: gsm8k.line_record(str(row["text"]), cut), ("text",))
    if "messages" in names:
        read = partial(_from_messages, cutter=cutter, mark=columns.mark)
        return Layout(("messages",), lambda row: read(row["messages"]), ("messages",))
    if {"prompt", "completion"} <= set(names):
        keys: tuple[str, ...] = ("prompt", "completion")
        return Layout(keys, partial(_from_completion, cutter=cutter, mark=columns.mark), keys)
    for keys, published in PUBLISHED.items():
        if set(keys) <= set(names):
            return replace(published, needs=published.uses)
    return None


def _column(field: str, names: Sequence[str], columns: Columns) -> str:
    """The column of a field: the one stated, the one of its name, or the one with a usual name for it."""
    if stated := getattr(columns, field):
        return str(stated)
    taken = {getattr(columns, other) for other in FIELDS}
    usual = [name for name in USUAL[field] if name in names and name not in taken]
    if field in names or not usual:
        return field
    if len(usual) > 1:
        raise UserError(f"{' and '.join(usual)} could each be the {field}: state columns.{field}")
    return usual[0]


def _solution_column(rows: Sequence[dict[str, Any]], columns: Columns, steps: str, answer: str) -> str | None:
    """The column whose texts hold the chain and, last, the answer; None if these have a column each."""
    names = {name for row in rows for name in row}
    if answer == steps or (steps not in names and columns.steps is None and _has_solutions(rows, answer, columns.mark)):
        return answer
    if answer not in names and columns.answer is None and _has_solutions(rows, steps, columns.mark):
        return steps
    return None


def _has_solutions(rows: Sequence[dict[str, Any]], column: str, mark: str | None) -> bool:
    """Whether some row has an answer with its steps before it; where the user states the mark, any row should."""
    texts = [row[column] for row in rows if isinstance(row.get(column), str)]
    return bool(texts) and (mark is not None or any(map(has_solution, texts)))


def _is_calculated(rows: Sequence[dict[str, Any]], column: str) -> bool:
    """Whether solutions have calculator annotations, as the original GSM8K's."""
    texts = [row[column] for row in rows if isinstance(row.get(column), str)]
    return any(MARKS.search(text) for text in texts) and any(gsm8k.CALCULATION.search(text) for text in texts)


def _require_columns(rows: Sequence[dict[str, Any]], needed: Sequence[str], columns: Columns) -> None:
    missing = [column for column in needed if rows and not any(column in row for row in rows)]
    if missing:
        field = next((field for field in FIELDS if (getattr(columns, field) or field) == missing[0]), "question")
        there = ", ".join(dict.fromkeys(column for row in rows for column in row))
        raise UserError(f"no column {missing[0]!r}: name one of {there} with columns.{field}")


def _record(row: Any, layout: Layout, taken: frozenset[str]) -> Any:
    """The record of a row, or the fault; `taken` are the keys that the row's own values do not keep."""
    if not isinstance(row, dict):
        return row
    for column in layout.needs:
        if row.get(column) is None:
            return UserError(f'"{column}" is {"null" if column in row else "missing"}: fill it in')
    try:
        record = layout.record(row)
    except UserError as error:
        return error
    return record | {key: value for key, value in row.items() if key not in taken}


def _text(value: Any) -> Any:
    """A number, true or false as its text. Anything else stays, and is a fault if it is no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return gsm8k.plain_number(value) if isinstance(value, int | float | Decimal) else value


def _answer(value: Any, column: str, mark: str | None, unboxed: bool) -> Any:
    """The answer of a cell, without a mark before it (and a box around it): the steps have a column of their own."""
    if not isinstance(value, str):
        return _text(value)
    marks = [mark] if mark else MARKS.findall(value)
    before, found, answer = value.rpartition(marks[-1]) if marks else ("", "", value)
    if found and before.strip():
        raise UserError(
            f'"{column}" has text before its mark {found}, and the steps have a column of their own: '
            f"state columns.steps ({column}, if they are in that text), or leave the text out"
        )
    answer = answer.strip() if found else value
    return unbox(answer) if unboxed else answer


def _steps(value: Any, column: str, cutter: Cutter, default: str | None) -> Any:
    """The steps of a cell: a list, also one written as JSON, calculations, or a text that the separator cuts.

    `default` cuts texts where the user states no separator; where there is none either, a text is a fault.
    """
    if isinstance(value, str) and cutter.separator is None:
        if not value.strip():
            return []
        if not gsm8k.CALCULATION.sub("", value).strip():
            return gsm8k.CALCULATION.findall(value)
        listed = _json_list(value)
        value = without_tags(value) if listed is None else listed
    if isinstance(value, str):
        if cutter.separator is None and default is None:
            raise UserError(
                f'"{column}" is text, not a list: state columns.separator, which stands between its '
                "steps (empty: the text is one step)"
            )
        return cutter(value, default or "")
    if not isinstance(value, list):
        return [] if value is None else value
    steps = [_text(step) for step in value]
    return steps if any(not isinstance(step, str) or step.strip() for step in steps) else []


def _json_list(text: str) -> list[Any] | None:
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _solution(text: Any, column: str, cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """Steps and answer of a text that has the answer last."""
    if not isinstance(text, str):
        raise UserError(f'"{column}" is {kind(text)}, not text: give steps, a mark and the answer')
    try:
        steps, answer = split_solution(text, mark)
    except UserError as error:
        raise UserError(f'"{column}" {error}') from error
    return {"steps": cutter(steps, "\n"), "answer": answer}


def _from_columns(
    row: Mapping[str, Any],
    names: Sequence[str],
    cutter: Cutter,
    default: str | None,
    mark: str | None,
    unboxed: bool,
) -> dict[str, Any]:
    """Question, steps and answer of a column each; without the question or the answer where the row lacks it."""
    question, steps, answer = names
    record = {"question": _text(row[question])} if question in row else {}
    record["steps"] = _steps(row.get(steps), steps, cutter, default)
    return record | ({"answer": _answer(row[answer], answer, mark, unboxed)} if answer in row else {})


def _from_solution(
    row: Mapping[str, Any], question: str, solution: str, cutter: Cutter, mark: str | None
) -> dict[str, Any]:
    return {"question": _text(row[question]), **_solution(row[solution], solution, cutter, mark)}


def _from_calculations(row: Mapping[str, Any], question: str, solution: str) -> dict[str, Any]:
    return gsm8k.solution_record({"question": _text(row[question]), "answer": row[solution]})


def _from_completion(row: Mapping[str, Any], cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """A prompt and its completion, as texts or as messages."""
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _from_messages([*prompt, *completion], cutter, mark)
    return {"question": prompt, **_solution(completion, "completion", cutter, mark)}


def _from_messages(messages: Any, cutter: Cutter, mark: str | None) -> dict[str, Any]:
    """The question of the user and the solution of the assistant; a message of the system is left out."""
    said: dict[str, list[Any]] = {"user": [], "assistant": []}
    for message in messages if isinstance(messages, list) else []:
        role = message.get("role") if isinstance(message, dict) else None
        if isinstance(role, str) and role in said:
            said[role].append(message.get("content"))
    if len(said["user"]) != 1 or len(said["assistant"]) != 1:
        raise UserError(
            f"{len(said['user'])} messages of the user and {len(said['assistant'])} of the assistant: give one of each"
        )
    return {"question": said["user"][0], **_solution(said["assistant"][0], "assistant", cutter, mark)}
