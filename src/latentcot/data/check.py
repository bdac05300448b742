"""What `latentcot data check` tells: what files hold, their faults, and questions that they repeat."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from latentcot.core import Example
from latentcot.data import prontoqa, prosqa
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.data.records import Scan, SkippedRecords, describe_missing_steps, digest, question_key, scan
from latentcot.data.sources import Source

DATA_SETS = {"ProsQA": prosqa, "ProntoQA": prontoqa}
"""Modules with `recognises` for an example, `statistics` for those recognised, and `PUBLISHED` to compare with."""

PERCENTILES = {"median": 50, "95%": 95, "max": 100}


@dataclass(frozen=True)
class FileCheck:
    """One file, or another source. Everything but `faults` is about the records that can be read."""

    path: Source
    faults: list[str]
    sha256: str = ""
    """Of the records, as `records.digest` says; empty if there are none."""
    records: int = 0
    missing_steps: str = ""
    """A note where records have no steps."""
    steps: dict[int, int] = field(default_factory=dict)
    """Number of records with each number of steps."""
    words: dict[str, list[int]] = field(default_factory=dict)
    """Words of question, steps (together) and answer at each of `PERCENTILES`."""
    characters: dict[str, list[int]] = field(default_factory=dict)
    """The same in characters."""
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    """For each of `DATA_SETS`, the statistics of the records that it recognises, if there are any."""
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    """Places of a question and of its repetition, as in ("record 3", "record 8")."""


@dataclass(frozen=True)
class Overlap:
    """Two files that share questions: how many, and the places of the first of them in both."""

    first: Source
    second: Source
    count: int
    places: tuple[str, str]

    def __str__(self) -> str:
        """The fault in one line."""
        there, here = self.places
        shared = f"{self.first} and {self.second} share {_count(self.count, 'question')}"
        return f"{shared} ({there} is {here}): keep each in one of them"


@dataclass(frozen=True)
class CheckReport:
    """All files. Overlaps are faults, since the files are splits; duplicates inside a file are not."""

    files: list[FileCheck]
    overlaps: list[Overlap]
    examples: list[Example]
    """The sound ones of all files."""
    skipped: SkippedRecords = field(default_factory=SkippedRecords)
    """Faulty records that are no faults of the report."""

    @property
    def faults(self) -> list[str]:
        """Every fault, a line each; none if the files can be trained on."""
        return [fault for file in self.files for fault in file.faults] + [str(pair) for pair in self.overlaps]


def check(paths: Sequence[Source], columns: Columns = AS_NAMED, skip_faults: int = 0) -> CheckReport:
    """Read the files and compare them. A bad file is a fault in the report, not an error.

    At most `skip_faults` faulty records, of all files together, are counted and no faults.
    """
    skipped = SkippedRecords(skip_faults)
    scans = {path: scan(path, columns, skipped) for path in paths}
    places = {path: _places(found) for path, found in scans.items()}
    overlaps = []
    for first, second in combinations(scans, 2):
        shared = [question for question in places[first] if question in places[second]]
        if shared:
            where = (places[first][shared[0]][0], places[second][shared[0]][0])
            overlaps.append(Overlap(first, second, len(shared), where))
    examples = [example for found in scans.values() for example in found.examples]
    return CheckReport([_file_check(path, scans[path], places[path]) for path in scans], overlaps, examples, skipped)


def render(report: CheckReport, limit: int = 20) -> str:
    """The report for a terminal. Of each file's faults and duplicates, the first `limit` are shown."""
    lines = [line for file in report.files for line in (*_file_lines(file, limit), "")]
    lines += [f"FAULT    {overlap}" for overlap in report.overlaps]
    lines += [f"warning  {report.skipped}"] if report.skipped.count else []
    duplicates = sum(len(file.duplicates) for file in report.files)
    lines.append(f"{_count(len(report.faults), 'fault')}, {_count(duplicates, 'duplicate')}")
    return "\n".join(lines)


def _places(found: Scan) -> dict[bytes, list[str]]:
    """Where each question stands in a file."""
    places: dict[bytes, list[str]] = {}
    for example, place in zip(found.examples, found.places, strict=True):
        places.setdefault(question_key(example.question), []).append(place)
    return places


def _file_check(path: Source, found: Scan, places: dict[bytes, list[str]]) -> FileCheck:
    examples = found.examples
    if not examples:
        return FileCheck(path, found.faults)
    texts = {
        "question": [example.question for example in examples],
        "steps": [" ".join(example.steps) for example in examples],
        "answer": [example.answer for example in examples],
    }
    recognised = {name: list(filter(kind.recognises, examples)) for name, kind in DATA_SETS.items()}
    return FileCheck(
        path=path,
        faults=found.faults,
        sha256=digest(examples),
        records=len(examples),
        missing_steps=describe_missing_steps(examples),
        steps=dict(sorted(Counter(len(example.steps) for example in examples).items())),
        words={part: _percentiles([len(text.split()) for text in texts[part]]) for part in texts},
        characters={part: _percentiles([len(text) for text in texts[part]]) for part in texts},
        statistics={name: DATA_SETS[name].statistics(found) for name, found in recognised.items() if found},
        duplicates=[(where[0], again) for where in places.values() for again in where[1:]],
    )


def _percentiles(values: list[int]) -> list[int]:
    """By nearest rank: the smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return [ordered[math.ceil(percent / 100 * len(ordered)) - 1] for percent in PERCENTILES.values()]


def _file_lines(file: FileCheck, limit: int) -> Iterator[str]:
    yield str(file.path)
    if file.records:
        yield f"  {_count(file.records, 'record')}, sha256 {file.sha256}"
        yield from _step_lines(file)
        yield from _length_lines(file)
        yield from _statistics_lines(file)
    for title, notes in (
        ("FAULT  ", file.faults),
        ("note   ", [file.missing_steps] if file.missing_steps else []),
        ("warning", [f"{again} asks the same as {first}" for first, again in file.duplicates]),
    ):
        yield from (f"  {title}  {note}" for note in notes[:limit])
        if len(notes) > limit:
            yield f"  {title}  and {len(notes) - limit} more"


def _step_lines(file: FileCheck) -> Iterator[str]:
    yield f"  {'steps':<16}{'records':>9}{'share':>9}"
    for steps, count in file.steps.items():
        yield f"  {steps:<16}{count:>9}{count / file.records:>9.1%}"


def _length_lines(file: FileCheck) -> Iterator[str]:
    columns = "".join(f"{head:>9}" for head in PERCENTILES)
    for unit, lengths in (("words", file.words), ("characters", file.characters)):
        yield f"  {unit:<16}{columns}"
        for part, values in lengths.items():
            yield f"  {part:<16}" + "".join(f"{value:>9}" for value in values)


def _statistics_lines(file: FileCheck) -> Iterator[str]:
    for data_set, rows in file.statistics.items():
        yield f"  {data_set:<16}{'here':>9}{'published':>11}"
        published = DATA_SETS[data_set].PUBLISHED
        for name, value in rows.items():
            reference = f"{published[name]:>11.3f}" if name in published else f"{'-':>11}"
            yield f"  {name:<16}{value:>9.3f}{reference}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
