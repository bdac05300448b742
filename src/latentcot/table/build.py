"""`latentcot table`: from a table recipe to a folder with every run and the table in every form.

DIR/table.yaml                   the table, with all that its recipe extends
DIR/DATA SET/ROW/seed-S/         a run each; see `work`
DIR/table.md, .csv, .json, .tex, .png, .svg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean

import yaml
from rich.console import Console
from rich.table import Column
from rich.table import Table as Screen

from latentcot.core import UserError
from latentcot.files import read_object, write_whole
from latentcot.table.cells import Cell, chosen, plan, require_unseen
from latentcot.table.recipe import Table
from latentcot.table.render import EARLY, accuracy, marked, published, write_all
from latentcot.table.results import Entry, collect
from latentcot.table.run import run_cells
from latentcot.table.work import require_same

FILE = "table.yaml"


def build(table: Table, run: Path, place: str, only: str | None, jobs: int, console: Console) -> list[Entry]:
    """Train and evaluate what is left of the chosen cells, write the table of all that is done, and return it.

    UserError if the table is faulty or the folder holds anything else, and, after all else is done, if cells failed.
    """
    cells = plan(table, run, place)
    wanted = chosen(cells, only)
    require_unseen(wanted, place)
    require_folder(run, cells)
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / FILE, _yaml(table).encode())
    failed = run_cells(wanted, jobs, console)
    entries = collect(table, cells, run)
    if entries:
        write_all(entries, run)
    if failed:
        if entries:
            show(entries, console)
        name, fault = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise UserError(f"{name} failed: {fault}{more}: mend it, and the same command goes on")
    return entries


def require_folder(run: Path, cells: Sequence[Cell]) -> None:
    """UserError if the folder holds anything but this table: files of others, or other runs in its cells' places."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run}: is a file: give --run a new folder")
    # Another process that begins at the same time may have its draft of the table's file there, under a hidden name.
    others = run.is_dir() and any(not path.name.startswith(".") for path in run.iterdir())
    if others and not (run / FILE).is_file():
        raise UserError(f"{run}: holds files that are no table's: give --run a new folder")
    for cell in cells:
        require_same(cell)


def is_table_file(path: Path) -> bool:
    """Return whether a file is what `build` writes as `FILE`: a table with every option of every data set."""
    try:
        options = read_object(path, "")
    except UserError:
        return False
    datasets = options.get("datasets")
    wanted = {"recipe", "test", "options", "rows", "start_from", "published"}
    if not {"rows", "datasets", "seeds", "options"} <= options.keys() or not isinstance(datasets, dict):
        return False
    return all(isinstance(dataset, dict) and wanted <= dataset.keys() for dataset in datasets.values())


def show(entries: Sequence[Entry], console: Console) -> None:
    """Print the table."""
    paper = ["published"] if any(entry.published for entry in entries) else []
    screen = Screen("data set", "row", "seeds", "accuracy", "tokens", "s/answer", "train s", *paper)
    for entry in entries:
        screen.add_row(
            entry.dataset, marked(entry), str(len(entry.runs)), accuracy(entry), f"{entry.tokens:.1f}",
            f"{entry.seconds_per_example:.4f}", f"{mean(run.training_seconds for run in entry.runs):.0f}",
            *([published(entry)] if paper else []),
        )  # fmt: skip
    console.print(screen)
    if any(not entry.reached_last_stage for entry in entries):
        console.print(EARLY)


def show_estimate(cells: Sequence[Cell], jobs: int, console: Console) -> None:
    """Measure and print what the cells that are left will take."""
    from latentcot.table.estimate import estimate

    screen = Screen(Column("run", overflow="fold"), "left", "parameters", "updates", "s/update", "time a run")
    found = estimate(cells, partial(print, file=sys.stderr, flush=True))
    for each in found:
        screen.add_row(
            f"{each.dataset}/{each.row}", str(each.runs), f"{each.parameters:,}", f"{each.updates:,}",
            "-".join(dict.fromkeys(f"{end:.2g}" for end in sorted(each.update_seconds))), _span(each.seconds),
        )  # fmt: skip
    console.print(screen)
    seconds = sum(each.runs * each.seconds for each in found)
    kept = sum(each.runs * each.kept for each in found)
    peak = kept + jobs * max((each.while_training for each in found), default=0)
    runs = sum(each.runs for each in found)
    console.print(
        f"left: {runs} run{'s' * (runs != 1)}, about {_span(seconds)} one at a time, or less where stages end early"
    )
    console.print(f"disk: {kept / 1e6:,.1f} MB to keep, up to {peak / 1e6:,.1f} MB while {jobs} at a time are trained")


def _span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:,.1f} h"


def _yaml(table: Table) -> str:
    mapping = asdict(table)
    for dataset in mapping["datasets"].values():
        dataset["test"] = str(dataset["test"])
    return yaml.safe_dump(mapping, sort_keys=False)
