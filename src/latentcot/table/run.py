"""Runs the cells of a table, one at a time in this process or several in processes of their own.

Any number of such processes may work in one folder: each takes cells that nobody works on, and waits for the rest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from latentcot.core import UserError
from latentcot.runs.claims import is_claimed
from latentcot.runs.records import find_damage, read_log, read_test
from latentcot.table.cells import Cell, start_of, to_text
from latentcot.table.work import ELSEWHERE, is_done, run_cell

POLL_SECONDS = 0.5


@dataclass
class Board:
    """The cells still to be done, in order, and why some failed."""

    cells: Sequence[Cell]
    console: Console
    waiting: list[Cell] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cell in self.cells:
            if is_claimed(cell.run):
                self.waiting.append(cell)
            elif fault := find_damage(cell.run):
                self.end(cell, fault)
            elif is_done(cell):
                self.say(cell, f"was done before, {_accuracy(cell)}")
            else:
                self.waiting.append(cell)

    def next(self) -> Cell | None:
        """Take the next cell that can be run now; None if there is none yet (see `waiting`)."""
        for cell in list(self.waiting):
            start = start_of(cell, self.cells)
            if start is not None and start.name in self.failed:
                self.end(cell, f"its start {start.name} failed")
                continue
            if is_claimed(cell.run):
                continue
            try:
                done, ready = is_done(cell), start is None or is_done(start)
            except UserError as error:  # Damaged since the beginning.
                self.end(cell, str(error))
                continue
            if done:
                self.waiting.remove(cell)
                self.say(cell, f"done by another process, {_accuracy(cell)}")
            elif ready:
                self.waiting.remove(cell)
                if start is not None:
                    self.say(cell, f"starts from the best checkpoint of {start.name}")
                return cell
        return None

    def end(self, cell: Cell, fault: str | None = None) -> None:
        """A cell is done, or failed for a reason."""
        if cell in self.waiting:
            self.waiting.remove(cell)
        if fault is None:
            self.say(cell, f"done, {_accuracy(cell)}")
        else:
            self.failed[cell.name] = fault
            self.say(cell, f"failed: {fault}")

    def put_back(self, cell: Cell) -> None:
        """Another process took the cell first."""
        self.waiting.append(cell)

    def say(self, cell: Cell, text: str) -> None:
        self.console.print(f"{cell.name}: {text}", soft_wrap=True, highlight=False, markup=False)


def run_cells(cells: Sequence[Cell], jobs: int, console: Console) -> dict[str, str]:
    """Run every cell that is not done yet, `jobs` at a time; returns why cells failed, by their names."""
    board = Board(cells, console)
    (_here if jobs == 1 else _in_processes)(board, jobs)
    return board.failed


def _here(board: Board, jobs: int) -> None:
    while board.waiting:
        cell = board.next()
        if cell is None:
            time.sleep(POLL_SECONDS)
            continue
        board.say(cell, "evaluating again" if (cell.run / "test.json").is_file() else "training")
        try:
            done = run_cell(cell)
        except UserError as error:
            board.end(cell, str(error))
        else:
            (board.end if done else board.put_back)(cell)


@dataclass(frozen=True)
class _Job:
    """A cell in a process of its own, with one thread: small models gain nothing from more."""

    cell: Cell
    process: subprocess.Popen[bytes]
    bar: TaskID

    @property
    def out(self) -> Path:
        return _out(self.cell)

    def last_entry(self) -> dict[str, Any]:
        """The newest values of the run's log."""
        try:
            entries = read_log(self.cell.run)
        except UserError:  # It is not there yet, or damaged, which the run itself tells.
            return {}
        merged: dict[str, Any] = {}
        for entry in entries[-3:]:
            merged |= entry
        return merged


def _in_processes(board: Board, jobs: int) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    # An end from outside ends the processes too, as an interruption by the keyboard does.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with Progress(*columns, console=board.console) as progress:
        running: list[_Job] = []
        try:
            while board.waiting or running:
                while len(running) < jobs and (cell := board.next()) is not None:
                    running.append(_start(cell, progress))
                time.sleep(POLL_SECONDS)
                running = [job for job in running if not _ended(job, board, progress)]
        finally:
            signal.signal(signal.SIGTERM, before)
            for job in running:
                job.process.terminate()
            for job in running:
                job.process.wait()


def _start(cell: Cell, progress: Progress) -> _Job:
    cell.run.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with _out(cell).open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "latentcot.table.work"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(to_text(cell).encode())
    return _Job(cell, process, progress.add_task(cell.name, total=cell.config.curriculum.epochs, note=""))


def _out(cell: Cell) -> Path:
    return cell.run.with_name(f"{cell.run.name}.out")


def _ended(job: _Job, board: Board, progress: Progress) -> bool:
    """Show where a job stands; True when its process has ended."""
    code, entry = job.process.poll(), job.last_entry()
    if entry:
        note = f"stage {entry['stage']}" + (f"  loss {entry['loss']:.3f}" if "loss" in entry else "")
        if "eval_accuracy" in entry:
            note += f"  accuracy {entry['eval_accuracy']:.1%}"
        progress.update(job.bar, completed=entry["epoch"], note=note)
    if code is None:
        return False
    progress.remove_task(job.bar)
    if code == 0:
        board.end(job.cell)
    elif code == ELSEWHERE:
        board.put_back(job.cell)
    else:
        lines = job.out.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        board.end(job.cell, lines[-1] if lines else f"ended with exit code {code}")
    return True


def _accuracy(cell: Cell) -> str:
    return f"{read_test(cell.run)['accuracy']:.1%} on its test file"
