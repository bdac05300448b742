"""Records: `{"question": str, "steps": [str, ...], "answer": str}`, read from any source, checked and written.

Keys beyond those three are kept in `Example.extra` (ProsQA's graph lives there) and written back.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcot.core import Example, UserError
from latentcot.data.columns import AS_NAMED, Columns, to_records
from latentcot.data.files import kind
from latentcot.data.graph import graph_faults, has_graph
from latentcot.data.sources import Sources, origins
from latentcot.files import write_whole
from latentcot.tokens import ANSWER_MARK, MARKERS


@dataclass(frozen=True)
class Scan:
    """The sound examples of sources, the place of each (`record 3`, or `line 3` in JSONL), and all faults."""

    examples: list[Example]
    places: list[str]
    faults: list[str]


def read(sources: Sources, columns: Columns = AS_NAMED) -> list[Example]:
    """The examples of one or several sources; UserError with the first fault, in one line."""
    return list(stream(sources, columns))


def stream(sources: Sources, columns: Columns = AS_NAMED) -> Iterator[Example]:
    """The examples one by one, read as they are needed; UserError at the first fault."""
    for name, place, record in _records(sources, columns):
        for fault in _record_faults(record):
            raise UserError(f"{name}: {place}: {fault}")
        yield _example(record)


def scan(sources: Sources, columns: Columns = AS_NAMED) -> Scan:
    """The sound examples of sources and every fault in them, graphs included. No source makes it raise."""
    found = Scan([], [], [])
    try:
        for name, place, record in _records(sources, columns):
            faults = _record_faults(record)
            if not faults:
                example = _example(record)
                found.examples.append(example)
                found.places.append(place if name == str(sources) else f"{name}: {place}")
                faults = graph_faults(example) if has_graph(example) else []
            found.faults.extend(f"{name}: {place}: {fault}" for fault in faults)
    except UserError as error:
        found.faults.append(str(error))
    return found


def faults(sources: Sources, columns: Columns = AS_NAMED) -> list[str]:
    """Every fault of sources, one line each: what `read` refuses, and graphs that do not fit their text."""
    return scan(sources, columns).faults


def write(path: Path, examples: Iterable[Example]) -> None:
    """Write a JSON list, a record a line (JSONL where the name ends so), from which `read` gives `examples`.

    The file appears whole or not at all. Missing folders are made; UserError where nothing can be written.
    """
    write_whole(path, _lines(examples, jsonl=path.suffix == ".jsonl"))


def _lines(examples: Iterable[Example], jsonl: bool) -> Iterator[bytes]:
    yield b"" if jsonl else b"[\n"
    for number, example in enumerate(examples):
        yield (b"" if jsonl or not number else b",\n") + _line(example) + (b"\n" if jsonl else b"")
    yield b"" if jsonl else b"\n]\n"


def digest(examples: Iterable[Example]) -> str:
    """The sha256 in hex of the examples, wherever they come from: that of the JSONL file that `write` makes of them."""
    hashed = hashlib.sha256()
    for example in examples:
        hashed.update(_line(example) + b"\n")
    return hashed.hexdigest()


def question_key(question: str) -> bytes:
    """The same for a question and for its repetitions. Facts in another order make the same question."""
    return hashlib.sha256("\0".join(sorted(question.strip().split(". "))).encode()).digest()


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


def _line(example: Example) -> bytes:
    record = _record(example)
    try:
        return json.dumps(record, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:  # An unpaired surrogate in a key of the user's own.
        return json.dumps(record, default=str).encode()


def _records(sources: Sources, columns: Columns) -> Iterator[tuple[str, str, Any]]:
    """Each record's file or data set, place, and content (its error, where it has none); UserError for a bad source."""
    for origin in origins(sources):
        for place, record in to_records(origin.name, origin.rows(), columns, origin.table):
            yield origin.name, place, record


def _record_faults(record: Any) -> list[str]:
    """What keeps a record from being an example; each names the field and the mend."""
    if isinstance(record, UserError):
        return [str(record)]
    if not isinstance(record, dict):
        return [f'{kind(record)}, not an object: give {{"question": ..., "steps": [...], "answer": ...}}']
    found = []
    for field in ("question", "steps", "answer"):
        if field not in record:
            found.append(f'"{field}" is missing: add it')
        elif field != "steps":
            found.extend(_text_faults(f'"{field}"', record[field]))
        elif not isinstance(record[field], list):
            found.append(f'"{field}" is {kind(record[field])}, not a list: give a list of texts')
        else:
            for number, step in enumerate(record[field], 1):
                found.extend(_text_faults(f'step {number} of "{field}"', step))
    return found


def _text_faults(name: str, value: Any) -> list[str]:
    if not isinstance(value, str):
        return [f"{name} is {kind(value)}, not text: put it in quotes"]
    if not value.strip():
        return [f"{name} is empty: fill it in or remove it"]
    found = [f"{name} contains the marker {marker}: remove it" for marker in (*MARKERS, ANSWER_MARK) if marker in value]
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        # No tokenizer takes it, and no file can hold it.
        found.append(f"{name} contains half a character (an unpaired surrogate): remove it")
    return found
