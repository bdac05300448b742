"""Questions alone, of any source: steps and answers may be missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from latentcot.core import UserError
from latentcot.data.columns import AS_NAMED, Columns, to_records
from latentcot.data.files import Row
from latentcot.data.records import text_faults
from latentcot.data.sources import Origin, Sources, origins


def read_questions(sources: Sources, columns: Columns = AS_NAMED) -> list[str]:
    """Return the questions of sources, in their order; UserError with the first fault.

    A row's question is its column `question` (or the one that `columns` names), or its only text; otherwise it is told
    as that of a record to train on.
    """
    return [question for origin in origins(sources) for question in _questions(origin, columns)]


def _questions(origin: Origin, columns: Columns) -> Iterator[str]:
    rows, name = list(origin.rows()), columns.question or "question"
    if not all(_question(row, name) is not None for _, row in rows if isinstance(row, dict)):
        rows, name = list(to_records(origin.name, iter(rows), columns, origin.table)), "question"
    for place, row in rows:
        for fault in _faults(row, name):
            raise UserError(f"{origin.name}: {place}: {fault}")
        yield _question(row, name)


def _question(row: Mapping[str, Any], name: str) -> Any:
    """Return the question of a row, or None; lines of GSM8k-Aug (`question||steps #### answer`) are more than one."""
    only = row["text"] if row.keys() == {"text"} else None
    return row.get(name, None if isinstance(only, str) and "||" in only else only)


def _faults(row: Row | Any, name: str) -> list[str]:
    if isinstance(row, UserError):
        return [str(row)]
    if not isinstance(row, dict):
        return ['no object: give {"question": ...}']
    question = _question(row, name)
    return [f'"{name}" is missing: add it'] if question is None else text_faults(f'"{name}"', question)
