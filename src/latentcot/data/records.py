"""Record files: JSON (a list) or JSONL of `{"question": str, "steps": [str, ...], "answer": str}`.

Keys beyond those three are kept in `Example.extra` (ProsQA's graph lives there) and written back.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcot.core import Example, UserError
from latentcot.data.graph import graph_faults, has_graph
from latentcot.files import write_whole
from latentcot.tokens import ANSWER_MARK, MARKERS

_KINDS = {str: "text", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Scan:
    """A file's sound examples, the place of each (`record 3`, or `line 3` in JSONL), and all its faults."""

    examples: list[Example]
    places: list[str]
    faults: list[str]


def read(path: Path) -> list[Example]:
    """The examples of a JSON or JSONL file; UserError with the first fault, in one line."""
    examples = []
    for place, record in _records(path):
        for fault in _record_faults(record):
            raise UserError(f"{path}: {place}: {fault}")
        examples.append(_example(record))
    return examples


def scan(path: Path) -> Scan:
    """The sound examples of a file and every fault in it, graphs included. No file makes it raise."""
    found = Scan([], [], [])
    try:
        for place, record in _records(path):
            faults = _record_faults(record)
            if not faults:
                example = _example(record)
                found.examples.append(example)
                found.places.append(place)
                faults = graph_faults(example) if has_graph(example) else []
            found.faults.extend(f"{path}: {place}: {fault}" for fault in faults)
    except UserError as error:
        found.faults.append(str(error))
    return found


def faults(path: Path) -> list[str]:
    """Every fault of a file, one line each: what `read` refuses, and graphs that do not fit their text."""
    return scan(path).faults


def write(path: Path, examples: Sequence[Example]) -> None:
    """Write a JSON list, a record a line (JSONL where the name ends so), from which `read` gives `examples`.

    The file appears whole or not at all. Missing folders are made; UserError where nothing can be written.
    """
    lines = [json.dumps(_record(example), ensure_ascii=False) for example in examples]
    text = "\n".join(lines) if path.suffix == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]"
    write_whole(path, (text + "\n").encode())


def digest(path: Path) -> str:
    """The file's sha256 in hex; UserError where it cannot be read."""
    return hashlib.sha256(_bytes(path)).hexdigest()


def reshuffle_facts(question: str, rng: random.Random) -> str:
    """The question with its sentences in a new order. The last one asks, so it stays last."""
    *facts, query = question.split(". ")
    rng.shuffle(facts)
    return ". ".join([*facts, query])


def _example(record: Any) -> Example:
    extra = {key: value for key, value in record.items() if key not in ("question", "steps", "answer")}
    return Example(record["question"], tuple(record["steps"]), record["answer"], extra)


def _record(example: Example) -> dict[str, Any]:
    """The inverse of `_example`, keys in the order of the published files."""
    fields = {"question": example.question, "answer": example.answer, "steps": list(example.steps)}
    return fields | dict(example.extra)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record's place and content (its error, if a line is not JSON); UserError for a bad file."""
    text = _text(path)
    if _is_jsonl(path, text):
        # Not splitlines(): JSON may hold raw U+2028 and other characters that Python takes for line ends.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"line {number}", _parsed(line)
        return
    records = _parsed(text)
    if isinstance(records, UserError):
        raise UserError(f"{path}: {records}")
    if not isinstance(records, list):
        raise UserError(f"{path}: holds {_kind(records)}, not a list of records: wrap the records in [ and ]")
    if not records:
        raise UserError(f"{path}: holds no records: give at least one")
    for number, record in enumerate(records, 1):
        yield f"record {number}", record


def _is_jsonl(path: Path, text: str) -> bool:
    """By content: a list is JSON whatever its name, a whole object on the first line is JSONL."""
    if text.lstrip().startswith("["):
        return False
    return path.suffix == ".jsonl" or isinstance(_parsed(text.lstrip().split("\n", 1)[0]), dict)


def _parsed(text: str) -> Any:
    """The JSON value of a text, or a UserError that says why it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        return UserError(f"not JSON ({line}column {error.colno}: {error.msg}): mend that place")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        return UserError(f"not JSON that can be read ({error}): mend that place")


def _text(path: Path) -> str:
    """The file's text, with content and without a byte order mark; UserError otherwise."""
    content = _bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(f"{path}: line {line}: not UTF-8 (byte {byte}): save the file as UTF-8") from error
    if not text.strip():
        raise UserError(f"{path}: the file is empty: give at least one record")
    return text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not a file: name a JSON or JSONL file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error


def _record_faults(record: Any) -> list[str]:
    """What keeps a record from being an example; each names the field and the mend."""
    if isinstance(record, UserError):
        return [str(record)]
    if not isinstance(record, dict):
        return [f'{_kind(record)}, not an object: give {{"question": ..., "steps": [...], "answer": ...}}']
    found = []
    for field in ("question", "steps", "answer"):
        if field not in record:
            found.append(f'"{field}" is missing: add it')
        elif field != "steps":
            found.extend(_text_faults(f'"{field}"', record[field]))
        elif not isinstance(record[field], list):
            found.append(f'"{field}" is {_kind(record[field])}, not a list: give a list of texts')
        else:
            for number, step in enumerate(record[field], 1):
                found.extend(_text_faults(f'step {number} of "{field}"', step))
    return found


def _text_faults(name: str, value: Any) -> list[str]:
    if not isinstance(value, str):
        return [f"{name} is {_kind(value)}, not text: put it in quotes"]
    if not value.strip():
        return [f"{name} is empty: fill it in or remove it"]
    found = [f"{name} contains the marker {marker}: remove it" for marker in (*MARKERS, ANSWER_MARK) if marker in value]
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        # No tokenizer takes it, and no file can hold it.
        found.append(f"{name} contains half a character (an unpaired surrogate): remove it")
    return found


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")
