"""`latentcot quickstart`: No-CoT, CoT and Coconut on the chains task, from scratch, on a laptop.

RUN/data/          the task, made for the seed
RUN/table/         a table of one data set and seed (see `table.build`), continued if it was interrupted
RUN/report.html    table, learning curves, and a look inside one question's thoughts
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from latentcot import __version__, provenance
from latentcot.core import Example, UserError
from latentcot.data import chains, records
from latentcot.recipe import shipped
from latentcot.runs.records import read_log
from latentcot.table.build import build, show
from latentcot.table.recipe import DataSet, Table

ROWS = {"coconut": "Coconut", "no_cot": "NoCoT", "cot": "CoT"}
"""The longest first, so that two at a time end together."""

RECIPE = shipped("chains.yaml")

SIZES = {"train": 6400, "valid": 250, "test": 500}


def quickstart(run: Path, seed: int) -> dict[str, Any]:
    """Train and evaluate the rows, print their table, write RUN/report.html, and return what the table says.

    UserError if `run` holds something else; an interrupted quickstart goes on where it stopped.
    """
    began, console, data = time.perf_counter(), Console(), run / "data"
    _make_data(data, seed)
    files = {name: str(data / f"{name}.json") for name in ("train", "valid")}
    table = Table(
        rows={row: {"method": method} for row, method in ROWS.items()},
        datasets={"chains": DataSet(recipe=str(RECIPE), test=data / "test.json", options={"data": files})},
        seeds=[seed],
    )
    entries = build(table, run / "table", "quickstart", None, os.cpu_count() or 1, console)
    entries.sort(key=lambda entry: ("no_cot", "cot", "coconut").index(entry.row))
    rows = {entry.row: asdict(entry.runs[0]) for entry in entries}
    seconds = round(time.perf_counter() - began, 1)
    result = {"seed": seed, "seconds": seconds, "machine": provenance.machine(), "rows": rows}
    page = run / "report.html"
    _report(run / "table", page, records.read(data / "test.json"), result)
    show(entries, console)
    console.print(f"report: {page.resolve()}", soft_wrap=True)
    return result


def _make_data(folder: Path, seed: int) -> None:
    splits = chains.make_splits(SIZES, seed)
    for name, examples in splits.items():
        file = folder / f"{name}.json"
        if not file.exists():
            records.write(file, examples)
        elif records.read(file) != examples:
            raise UserError(f"{file}: is not the data of seed {seed}: give --run a new folder")


def _report(folder: Path, page: Path, test: Sequence[Example], result: dict[str, Any]) -> None:
    from latentcot.report.page import Page, Section, write_page
    from latentcot.report.plots.curves import learning_curves
    from latentcot.report.plots.style import svg

    rows = result["rows"]
    logs = {name: read_log(folder / row["run"]) for name, row in rows.items()}
    facts = {
        "command": f"latentcot quickstart --seed {result['seed']}",
        "latentcot": __version__,
        "machine": result["machine"],
        "training and evaluation": f"{result['seconds']:.0f} s",
        "held-out questions": f"{len(test):,}",
    }
    curves = Section(
        "Learning, stage by stage",
        svg(learning_curves(logs)),
        "Each stage removes one more written step and puts a thought in its place, so the loss jumps where a stage "
        "begins and falls when the model has learned to think that step.",
    )
    inside = _look_inside(folder / rows["coconut"]["run"], test)
    write_page(page, Page("latentcot quickstart", facts, [curves, inside], rows))


def _look_inside(run: Path, test: Sequence[Example]) -> Any:
    """The first of the longest questions, with the values of every candidate after each thought."""
    from latentcot.checkpoint import load
    from latentcot.generate import answer
    from latentcot.report.findings import Subject, race
    from latentcot.report.page import Section
    from latentcot.report.plots.style import svg

    checkpoint = load(run, device="cpu")
    example = max(test, key=lambda example: len(example.steps))
    finding = race(Subject(checkpoint, [example], checkpoint.thoughts), index=0)
    (written,) = answer(checkpoint, [example.question])
    gold = f"Written out: {' '.join(example.steps)} Answer: {example.answer}."
    text = [example.question, f"{gold} The model wrote {written.text!r} after its thoughts."]
    return Section(finding.title, svg(finding.figure), finding.note, text)
