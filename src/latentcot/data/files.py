"""Files to rows: JSON, JSONL, CSV, TSV, Parquet and lines of text, read a piece at a time where the format allows.

A row is an object, by the names of its columns, and a line of text is one with the column `text`. What the columns
mean is for `columns` to say.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from latentcot.core import UserError

Row = tuple[str, Any]
"""A place, as in `line 3`, and what stands there: a `UserError` where that cannot be read."""

TABLES = (".csv", ".tsv", ".parquet")
"""Names of formats with one set of columns for all rows."""

BATCH = 1000
"""Rows of a column-wise format that are in memory at a time."""


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its name and content; UserError for a file that cannot be read at all.

    A table is one by name, lines of text are `.txt`. JSON is told by its content, whatever the name: a list starts
    with a bracket, and a first line that is a whole object makes JSONL.
    """
    first, suffix = _first_line(path), path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix in TABLES:
        return _csv(path, "\t" if suffix == ".tsv" else ",")
    if first.startswith("["):
        return _json(path)
    if suffix == ".jsonl" or isinstance(_parsed(first), dict):
        return ((place, line if isinstance(line, UserError) else _parsed(line)) for place, line in _lines(path))
    if suffix == ".json" or first.startswith("{"):
        return _json(path)
    if suffix in (".txt", ""):
        return ((place, line if isinstance(line, UserError) else {"text": line}) for place, line in _lines(path))
    raise UserError(f"{path}: unknown format {suffix}: give JSON, JSONL, CSV, TSV, Parquet or text lines (.txt)")


def _first_line(path: Path) -> str:
    """The first line with content, without outer space; UserError if there is none."""
    with _open(path) as file:
        for line in file:
            if text := line.decode("utf-8-sig", "replace").strip():
                return text
    raise UserError(f"{path}: the file is empty: give at least one record")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except IsADirectoryError as error:
        raise UserError(
            f"{path}: a folder, not a file: name a file in it, or a pattern as in '{path}/*.json'"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error


def _lines(path: Path) -> Iterator[tuple[str, str | UserError]]:
    """The lines that are not blank, without their line breaks."""
    with _open(path) as file:
        # Not by Python's own text lines: JSON may hold raw U+2028 and other characters that it takes for line ends.
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", _decoded(line.rstrip(b"\r\n"), number)


def _decoded(line: bytes, number: int) -> str | UserError:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return UserError(f"not UTF-8 (byte 0x{line[error.start]:02x}): save the file as UTF-8")


def _json(path: Path) -> Iterator[Row]:
    records = _parsed(_text(path))
    if isinstance(records, UserError):
        raise UserError(f"{path}: {records}")
    if not isinstance(records, list):
        raise UserError(f"{path}: holds {kind(records)}, not a list of records: wrap the records in [ and ]")
    if not records:
        raise UserError(f"{path}: holds no records: give at least one")
    for number, record in enumerate(records, 1):
        yield f"record {number}", record


def _text(path: Path) -> str:
    with _open(path) as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(f"{path}: line {line}: not UTF-8 (byte {byte}): save the file as UTF-8") from error


def _parsed(text: str) -> Any:
    """The JSON value of a text, or a UserError that says why it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        cut = error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())
        mend = "it breaks off there, so complete it or fetch it again" if cut else "mend that place"
        return UserError(f"not JSON ({line}column {error.colno}: {error.msg}): {mend}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        return UserError(f"not JSON that can be read ({error}): mend that place")


def _csv(path: Path, delimiter: str) -> Iterator[Row]:
    """Rows as objects, by the names in the first line; a row's place is the line that it begins in."""
    broken: dict[int, UserError] = {}

    def lines(file: BinaryIO) -> Iterator[str]:
        for number, line in enumerate(file, 1):
            text = _decoded(line, number)
            if isinstance(text, UserError):
                broken[number], text = text, line.decode("utf-8", "replace")
            yield text

    with _open(path) as file:
        reader = csv.reader(lines(file), delimiter=delimiter, strict=True)
        names: list[str] = []
        began, empty = 1, True
        try:
            for cells in reader:
                fault = next((broken[line] for line in range(began, reader.line_num + 1) if line in broken), None)
                if not names:
                    names = _header(path, began, cells, fault)
                elif cells:
                    empty = False
                    yield f"line {began}", fault or _object(names, cells)
                began = reader.line_num + 1
        except csv.Error as error:
            # What follows cannot be told apart into rows.
            cut = "end of data" in str(error) or "field larger" in str(error)
            mend = "close the quotation mark that opens there, or fetch the file again" if cut else "mend that place"
            yield f"line {began}", UserError(f"not CSV ({error}): {mend}")
        else:
            if empty:
                raise UserError(f"{path}: holds no records: give at least one line below the names of the columns")


def _header(path: Path, line: int, cells: list[str], fault: UserError | None) -> list[str]:
    twice = [name for name in cells if cells.count(name) > 1]
    if twice and not fault:
        fault = UserError(f"two columns are called {twice[0]!r}: give each a name of its own")
    if fault:
        raise UserError(f"{path}: line {line}: {fault}")
    return cells


def _object(names: list[str], cells: list[str]) -> dict[str, str] | UserError:
    if len(cells) != len(names):
        return UserError(
            f"{len(cells)} cells for {len(names)} columns: quote cells that hold a delimiter, or add what is missing"
        )
    return dict(zip(names, cells, strict=True))


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"record {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        place = f"damaged after record {number}" if number else "not Parquet, or cut off"
        raise UserError(f"{path}: {place} ({reason:.120}): fetch the file again") from error
    if not number:
        raise UserError(f"{path}: holds no records: give at least one")


def kind(value: Any) -> str:
    """What a JSON value is, in a fault's words."""
    kinds = {str: "text", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
