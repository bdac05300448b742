"""The figures of a table: its cells' runs put together over seeds, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from latentcot.evaluation.statistics import student, wilson
from latentcot.runs.records import find_damage, read_result, read_test, read_threads
from latentcot.table.cells import Cell
from latentcot.table.recipe import PUBLISHED_TOKENS_NOTES, Table, published
from latentcot.table.work import is_done


@dataclass(frozen=True)
class Run:
    """One seed of an entry, with all that its figures can be traced to. Accuracies are shares."""

    seed: int
    run: str
    """The run's folder, relative to the table's."""
    start: str | None
    """The row whose best checkpoint it started from."""
    n: int
    right: int
    accuracy: float
    tokens: float
    thoughts: float
    seconds_per_example: float
    stages: Sequence[Mapping[str, Any]]
    """Accuracy on validation at the end of every stage."""
    reached_last_stage: bool
    """Otherwise its epochs ended before, and the figures are those of the stage that it reached."""
    updates: int
    training_seconds: float
    sha256: Mapping[str, str]
    """Of the training, validation and test file."""
    code: str
    machine: str
    threads: Sequence[int]
    """CPU threads of each piece that the run came in; none where the run does not tell."""


@dataclass(frozen=True)
class Entry:
    """A row on a data set: the mean over its seeds. Accuracies are shares, published ones too."""

    dataset: str
    row: str
    accuracy: float
    sd: float | None
    """Standard deviation over seeds; None for one seed."""
    interval: tuple[float, float]
    """95%: Student's t over seeds, or Wilson's for one seed."""
    pooled: tuple[float, float]
    """95%, Wilson's, of all answers of all seeds together: the test questions' share of the doubt alone."""
    tokens: float
    thoughts: float
    seconds_per_example: float
    published: Mapping[str, float] | None
    runs: Sequence[Run]
    published_tokens_note: str = ""
    """Why the published tokens differ from what is counted here for the same text; empty where they do not."""

    @property
    def reached_last_stage(self) -> bool:
        """Whether every run did."""
        return all(run.reached_last_stage for run in self.runs)


def collect(table: Table, cells: Sequence[Cell], folder: Path) -> list[Entry]:
    """An entry for each row and data set that has a finished cell, in the table's order; damaged cells are left out."""
    runs: dict[tuple[str, str], list[Run]] = {(name, row): [] for name in table.datasets for row in table.rows}
    for cell in cells:
        if find_damage(cell.run) is None and is_done(cell):
            runs[cell.dataset, cell.row].append(_run(cell, folder))
    figures = published()
    return [
        _entry(
            name,
            row,
            found,
            figures.get(table.datasets[name].published or "", {}).get(row),
            PUBLISHED_TOKENS_NOTES.get(table.datasets[name].published or "", "") if row != "cot" else "",
        )
        for (name, row), found in runs.items()
        if found
    ]


def _run(cell: Cell, folder: Path) -> Run:
    figures, result = read_test(cell.run), read_result(cell.run)
    names = (
        "seed", "start", "n", "right", "accuracy", "tokens", "thoughts", "seconds_per_example", "sha256", "code",
        "machine",
    )  # fmt: skip
    return Run(
        run=cell.run.relative_to(folder).as_posix(),
        stages=result["stages"],
        reached_last_stage=bool(result["best"]),
        updates=result["updates"],
        training_seconds=result["seconds"],
        threads=read_threads(cell.run),
        **{name: figures[name] for name in names},
    )


def _entry(
    dataset: str, row: str, runs: Sequence[Run], figures: Mapping[str, float] | None, tokens_note: str = ""
) -> Entry:
    accuracies = [run.accuracy for run in runs]
    pooled = wilson(sum(run.right for run in runs), sum(run.n for run in runs))
    several = len(runs) > 1
    low, high = student(accuracies) if several else pooled
    return Entry(
        dataset=dataset,
        row=row,
        accuracy=mean(accuracies),
        sd=stdev(accuracies) if several else None,
        interval=(max(low, 0.0), min(high, 1.0)),
        pooled=pooled,
        tokens=mean(run.tokens for run in runs),
        thoughts=mean(run.thoughts for run in runs),
        seconds_per_example=mean(run.seconds_per_example for run in runs),
        published=figures,
        runs=runs,
        published_tokens_note=tokens_note if figures else "",
    )
