"""Files to rows: JSON, JSONL, CSV, TSV, Parquet and lines of text, plain or gzip, a piece at a time where it allows.

A row is an object, by the names of its columns, and a line of text is one with the column `text`. What the columns
mean is for `columns` to say.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from latentcot.core import UserError

Row = tuple[str, Any]
"""A place, as in `line 3`, and what stands there: a `UserError` where that cannot be read."""

TABLES = (".csv", ".tsv", ".parquet")
"""Names of formats with one set of columns for all rows."""

LFS_POINTER = "version https://git-lfs.github.com/spec/"
"""What a file begins with that stands in a repository for a large one."""

BATCH = 1000
"""Rows of a column-wise format that are in memory at a time."""


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its name and content; UserError for a file that cannot be read at all.

    A table is one by name, lines of text are `.txt`. JSON is told by its content, whatever the name: a list starts
    with a bracket, and a first line that is a whole object makes JSONL, unless it is the only line and holds records
    in columns or by name. gzip is told by its content as well.
    """
    first, suffix = _first_line(path), file_suffix(path)
    if first.startswith(LFS_POINTER):
        raise UserError(
            f"{path}: a git-lfs pointer, not the data: run `git lfs install` and then `git lfs pull` in its folder"
        )
    if suffix == ".parquet":
        return _parquet(path)
    if suffix in TABLES:
        return _csv(path, "\t" if suffix == ".tsv" else ",")
    record = _parsed(first) if first.startswith("{") else None
    if first.startswith("[") or (isinstance(record, dict) and _holds_records(record) and _is_single_line(path)):
        return _json(path)
    if suffix == ".jsonl" or isinstance(record, dict):
        return ((place, line if isinstance(line, UserError) else _parsed(line)) for place, line in _lines(path))
    if suffix == ".json" or first.startswith("{"):
        return _json(path)
    if suffix in (".txt", ""):
        return ((place, line if isinstance(line, UserError) else {"text": line}) for place, line in _lines(path))
    raise UserError(
        f"{path}: unknown format {suffix}: give JSON, JSONL, CSV, TSV, Parquet or text lines (.txt), each also as .gz"
    )


def file_suffix(path: Path) -> str:
    """Return the suffix that tells a file's format, in lower case: `.jsonl` of `train.jsonl.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def arrow_rows(batches: Iterable[Any]) -> Iterator[Row]:
    """Yield the rows of Arrow tables or record batches; a `UserError` in place of a row that holds broken values."""
    number = 0
    for batch in batches:
        try:
            values = batch.to_pylist()
        except (ValueError, OverflowError):  # Text that is not UTF-8, a date beyond what Python has.
            values = [_arrow_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
        for row in values:
            number += 1
            yield f"record {number}", row


def _arrow_row(batch: Any) -> Any:
    try:
        return batch.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return UserError(f"holds a value that cannot be read ({' '.join(str(error).split()):.120}): mend that record")


def _first_line(path: Path) -> str:
    """The first line with content, without outer space; UserError if there is none."""
    with _open(path) as file:
        for line in file:
            if text := line.decode("utf-8-sig", "replace").strip():
                return text
    raise UserError(f"{path}: the file is empty: give at least one record")


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, unpacked where they are gzip's; UserError where that cannot be done."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # It is read more than once, and what was read of a pipe is gone.
            raise UserError(f"{path}: a pipe or device, not a file: save what it gives to a file first")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")) if packed else file
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file: check the path (a recipe's first lines name the commands that make its data)"
        ) from error
    except IsADirectoryError as error:
        raise UserError(
            f"{path}: a folder, not a file: name a file in it, or a pattern as in '{path}/*.json'"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: gzip that is damaged or cut off ({error}): fetch the file again") from error
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


def _is_single_line(path: Path) -> bool:
    return len(list(islice(_lines(path), 2))) == 1


def _json(path: Path) -> Iterator[Row]:
    records = _parsed(_text(path))
    if isinstance(records, UserError):
        raise UserError(f"{path}: {records}")
    if isinstance(records, dict) and _holds_records(records):
        records = _as_list(path, records)
    if not isinstance(records, list):
        raise UserError(f"{path}: holds {kind(records)}, not a list of records: wrap the records in [ and ]")
    if not records:
        raise UserError(f"{path}: holds no records: give at least one")
    for number, record in enumerate(records, 1):
        yield f"record {number}", record


def _holds_records(content: dict[str, Any]) -> bool:
    """Whether an object is no record but holds some: in columns, which are lists, or each by its name, as objects.

    A list of messages is no column: it is a conversation, which one record may hold alone.
    """
    values = list(content.values())
    if not values:
        return False
    if all(isinstance(value, dict) for value in values):
        return True
    return all(
        isinstance(value, list) and not (value and isinstance(value[0], dict) and "role" in value[0])
        for value in values
    )


def _as_list(path: Path, content: dict[str, Any]) -> list[Any]:
    """Return the records of an object that `_holds_records`; UserError where its columns differ in length."""
    if all(isinstance(value, dict) for value in content.values()):
        return list(content.values())
    lengths = {name: len(column) for name, column in content.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length:,}" for name, length in list(lengths.items())[:9])
        raise UserError(f"{path}: its columns differ in length ({shown}): give every record a value in each")
    return [dict(zip(content, cells, strict=True)) for cells in zip(*content.values(), strict=True)]


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

    def lines(file: IO[bytes]) -> Iterator[str]:
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
            # A fault of the file and not of one record: what follows cannot be told apart into rows.
            cut = "end of data" in str(error) or "field larger" in str(error)
            mend = "close the quotation mark that opens there, or fetch the file again" if cut else "mend that place"
            raise UserError(f"{path}: line {began}: not CSV ({error}): {mend}") from error
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

    place = ""
    with _open(path) as opened:
        try:
            with pyarrow.parquet.ParquetFile(opened) as file:
                for place, row in arrow_rows(file.iter_batches(BATCH)):
                    yield place, row
        except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: names that are not UTF-8.
            reason = " ".join(str(error).split())
            fault = f"damaged after {place}" if place else "not Parquet, or cut off"
            raise UserError(f"{path}: {fault} ({reason:.120}): fetch the file again") from error
    if not place:
        raise UserError(f"{path}: holds no records: give at least one")


def kind(value: Any) -> str:
    """What a value is, in a fault's words."""
    kinds = {
        str: "text", list: "a list", dict: "an object", bool: "true or false", type(None): "null", int: "a number",
        float: "a number",
    }  # fmt: skip
    return kinds.get(type(value), f"of type {type(value).__name__}")
