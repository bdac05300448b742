"""Records: `{"question": str, "steps": [str, ...], "answer": str}`, read from any source, checked and written.

Keys beyond those three are kept in `Example.extra` (ProsQA's graph lives there) and written back.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from latentcot.core import Example, UserError
from latentcot.data.columns import AS_NAMED, Columns, to_records
from latentcot.data.files import kind
from latentcot.data.graph import graph_faults, has_graph
from latentcot.data.sources import Sources, origins, spelled
from latentcot.files import write_whole
from latentcot.tokens import ANSWER_MARK, MARKERS, final_answer


@dataclass(frozen=True)
class Scan:
    """The sound examples of sources, the place of each (`record 3`, or `line 3` in JSONL), and all faults."""

    examples: list[Example]
    places: list[str]
    faults: list[str]
    """But of the records that may be skipped."""


@dataclass
class SkippedRecords:
    """Counts faulty records that are left out. There may be `limit` of them; one more is an error."""

    limit: int = 0
    count: int = 0
    first: list[str] = field(default_factory=list)
    """The faults of the first `SHOWN`, each with its source and place."""

    SHOWN: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise UserError(f"skip_faults is {self.limit}: give 0 or more")

    def add(self, fault: str) -> None:
        """Count one more record; UserError, which is its fault, if that is one too many."""
        if self.count >= self.limit:
            before = f" ({self.count:,} before it left out, as many as skip_faults allows)"
            raise UserError(fault + (before if self.limit else ""))
        self.count += 1
        if len(self.first) < self.SHOWN:
            self.first.append(fault)

    def __str__(self) -> str:
        """Say in one line how many records are left out, and why the first ones are; empty if there are none."""
        if not self.count:
            return ""
        shown = "; ".join(self.first) + ("; ..." if self.count > len(self.first) else "")
        return f"{self.count:,} faulty {'record' if self.count == 1 else 'records'} left out ({shown})"


def read(sources: Sources, columns: Columns = AS_NAMED, skipped: SkippedRecords | None = None) -> list[Example]:
    """The examples of one or several sources; UserError with the first fault, in one line."""
    return list(stream(sources, columns, skipped))


def stream(sources: Sources, columns: Columns = AS_NAMED, skipped: SkippedRecords | None = None) -> Iterator[Example]:
    """The examples one by one, read as they are needed; UserError at the first fault that `skipped` does not take."""
    skipped, empty = skipped or SkippedRecords(), True
    for name, place, record in _records(sources, columns):
        if faults := _record_faults(record):
            skipped.add(f"{name}: {place}: {faults[0]}")
        else:
            empty = False
            yield _example(record)
    if empty:
        raise UserError(f"{spelled(sources)}: no record is sound: {skipped}")


def take_first(examples: Iterable[Example], limit: int | None) -> list[Example]:
    """Return the first `limit` examples, however large it is; all without one. UserError if it is negative."""
    if limit is not None and limit < 0:
        raise UserError(f"the limit of records is {limit}: give 0 or more")
    return list(islice(examples, None if limit is None else min(limit, sys.maxsize)))


def describe_missing_steps(examples: Sequence[Example]) -> str:
    """Say in one line how many examples have no steps; empty if all have some."""
    missing = sum(not example.steps for example in examples)
    if not missing:
        return ""
    if missing < len(examples):
        return f"{missing:,} of {len(examples):,} records have no steps"
    others = ", ".join(examples[0].extra)
    return f"no record has steps{f' (columns or keys that are not read: {others})' if others else ''}"


def scan(sources: Sources, columns: Columns = AS_NAMED, skipped: SkippedRecords | None = None) -> Scan:
    """The sound examples of sources and every fault in them, graphs included. No source makes it raise."""
    found, skipped = Scan([], [], []), skipped or SkippedRecords()
    try:
        for name, place, record in _records(sources, columns):
            faults = _record_faults(record)
            if faults and skipped.count < skipped.limit:
                skipped.add(f"{name}: {place}: {faults[0]}")
                continue
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
    """Return what a question has in common with its repetitions: the hash of its sentences in alphabetical order.

    Sentences (facts) in another order, other spaces, another case and other forms of a character (NFKC) make the same
    question.
    """
    text = question if question.isascii() else unicodedata.normalize("NFKC", question)
    text = " ".join(text.casefold().split())
    sentences = text.replace(". ", ".\0").replace("? ", "?\0").replace("! ", "!\0").split("\0")
    return hashlib.sha256("\0".join(sorted(sentences)).encode(errors="surrogatepass")).digest()


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
    for name in ("question", "steps", "answer"):
        if name not in record:
            found.append(f'"{name}" is missing: add it')
        elif name != "steps":
            found.extend(text_faults(f'"{name}"', record[name]))
        elif not isinstance(record[name], list):
            found.append(f'"{name}" is {kind(record[name])}, not a list: give a list of texts')
        else:
            for number, step in enumerate(record[name], 1):
                found.extend(text_faults(f'step {number} of "{name}"', step) or _mark_faults(number, step, record))
    if ANSWER_MARK in str(record.get("answer")):
        found.append(f'"answer" contains {ANSWER_MARK}, after which an answer begins: remove it')
    return found


def _mark_faults(number: int, step: str, record: dict[str, Any]) -> list[str]:
    """A step may hold the answer mark, as `### Step 1: add` does, unless what follows it there counts as the answer."""
    if ANSWER_MARK not in step or final_answer(step) != final_answer(str(record.get("answer"))):
        return []
    return [f'step {number} of "steps" gives the answer after {ANSWER_MARK}: leave that step out']


def text_faults(name: str, value: Any) -> list[str]:
    """Return what keeps a value from being a question, step or answer; each fault begins with the field's `name`."""
    if not isinstance(value, str):
        return [f"{name} is {kind(value)}, not text: put it in quotes"]
    if not value.strip():
        return [f"{name} is empty: fill it in or remove it"]
    found = [f"{name} contains the marker {marker}: remove it" for marker in MARKERS if marker in value]
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        # No tokenizer takes it, and no file can hold it.
        found.append(f"{name} contains half a character (an unpaired surrogate): remove it")
    return found
