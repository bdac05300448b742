"""`latentcot quickstart`: No-CoT, CoT and Coconut on the chains task, from scratch, on a laptop.

RUN/data/          the task, made for the seed
RUN/ROW/           one training run for each row, continued if it was interrupted
RUN/report.html    table, learning curves, and a look inside one question's thoughts
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from latentcot import __version__
from latentcot.config import load_config
from latentcot.core import Example, UserError
from latentcot.data import chains, records
from latentcot.methods import Coconut, CoT, Method, NoCoT

ROWS: tuple[Method, ...] = (Coconut(), NoCoT(), CoT())
"""The longest first, so that two at a time end together."""

SIZES = {"train": 6400, "valid": 250, "test": 500}


def quickstart(run: Path, seed: int) -> dict[str, Any]:
    """Train and evaluate the rows, print their table, write RUN/report.html, and return what the table says.

    UserError if `run` holds something else; an interrupted quickstart goes on where it stopped.
    """
    began, console = time.perf_counter(), Console()
    _make_data(run / "data", seed)
    _train_all(run, seed, console)
    test = records.read(run / "data" / "test.json")
    rows = {method.name: _evaluate(run / method.name, test) for method in sorted(ROWS, key=_table_order)}
    result = {"seed": seed, "seconds": round(time.perf_counter() - began, 1), "machine": _machine(), "rows": rows}
    page = run / "report.html"
    _report(run, page, test, result)
    console.print(_table(rows))
    console.print(f"report: {page.resolve()}", soft_wrap=True)
    return result


def _table_order(method: Method) -> int:
    return ["no_cot", "cot", "coconut"].index(method.name)


def recipe(name: str) -> Path:
    """The path of a recipe that comes with the package, in an installation and in a clone."""
    installed = Path(str(files("latentcot"))) / "recipes" / name
    return installed if installed.is_file() else Path(__file__).parents[2] / "recipes" / name


def _make_data(folder: Path, seed: int) -> None:
    splits = chains.make_splits(SIZES, seed)
    for name, examples in splits.items():
        file = folder / f"{name}.json"
        if not file.exists():
            records.write(file, examples)
        elif records.read(file) != examples:
            raise UserError(f"{file}: is not the data of seed {seed}: give --run a new folder")


@dataclass
class _Job:
    """A row's training in a process of its own, with one thread: small models gain nothing from more."""

    row: str
    run: Path
    command: list[str]
    bar: TaskID
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.run.parent.mkdir(parents=True, exist_ok=True)
        with self.run.with_suffix(".out").open("wb") as out:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
            )

    def last_entry(self) -> dict[str, Any]:
        try:
            lines = (self.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        merged: dict[str, Any] = {}
        for line in lines[-3:]:
            merged |= json.loads(line)
        return merged


def _train_all(run: Path, seed: int, console: Console) -> None:
    """Train every row, as many at a time as there are cores."""
    config = load_config(recipe("chains.yaml"))
    updates = config.curriculum.epochs * (SIZES["train"] // config.train.batch_size)
    columns = TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        waiting = [_job(method, run, seed, progress, updates) for method in ROWS]
        running: list[_Job] = []
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    running.append(waiting.pop(0))
                    running[-1].start()
                    progress.start_task(running[-1].bar)
                time.sleep(0.5)
                running = [job for job in running if not _finished(job, progress, console)]
        finally:
            for job in running:
                assert job.process is not None
                job.process.terminate()


def _job(method: Method, run: Path, seed: int, progress: Progress, updates: int) -> _Job:
    kind = type(method)
    command = [
        sys.executable, "-m", "latentcot", "train", "--config", str(recipe("chains.yaml")),
        "--method", f"{kind.__module__}.{kind.__qualname__}", "--seed", str(seed), "--run", str(run / method.name),
        "--data.train", str(run / "data" / "train.json"), "--data.valid", str(run / "data" / "valid.json"),
    ]  # fmt: skip
    bar = progress.add_task(method.name, start=False, total=updates, note="")
    return _Job(method.name, run / method.name, command, bar)


def _finished(job: _Job, progress: Progress, console: Console) -> bool:
    """Show where a job stands; True when it is done, UserError with its last line if it failed."""
    assert job.process is not None
    code, entry = job.process.poll(), job.last_entry()
    if entry:
        note = f"stage {entry['stage']}" + (f"  loss {entry['loss']:.3f}" if "loss" in entry else "")
        if "eval_accuracy" in entry:
            note += f"  accuracy {entry['eval_accuracy']:.1%}"
        progress.update(job.bar, completed=entry["step"], note=note)
    if code is None:
        return False
    if code:
        lines = job.run.with_suffix(".out").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise UserError(f"{job.row}: {lines[-1] if lines else f'ended with exit code {code}'}")
    progress.update(job.bar, completed=progress.tasks[job.bar].total)
    if not console.is_terminal:
        console.print(f"{job.row}: trained, {entry.get('step', 0):,} updates")
    return True


def _evaluate(run: Path, test: Sequence[Example]) -> dict[str, Any]:
    from latentcot.checkpoint import load
    from latentcot.evaluation.answers import evaluate

    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    metrics = evaluate(load(run, device="cpu"), test, batch_size=250).metrics()
    return {
        **metrics, "updates": result["updates"], "training_seconds": result["seconds"], "stages": result["stages"],
    }  # fmt: skip


def _report(run: Path, page: Path, test: Sequence[Example], result: dict[str, Any]) -> None:
    from latentcot.report.page import Page, Section, write_page
    from latentcot.report.plots.curves import learning_curves
    from latentcot.report.plots.style import svg

    rows = result["rows"]
    logs = {
        name: [json.loads(line) for line in (run / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in rows
    }
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
    write_page(page, Page("latentcot quickstart", facts, [curves, _look_inside(run, test)], rows))


def _look_inside(run: Path, test: Sequence[Example]) -> Any:
    """The first of the longest questions, with the values of every candidate after each thought."""
    from latentcot.checkpoint import load
    from latentcot.generate import answer
    from latentcot.report.findings import Subject, race
    from latentcot.report.page import Section
    from latentcot.report.plots.style import svg

    checkpoint = load(run / "coconut", device="cpu")
    example = max(test, key=lambda example: len(example.steps))
    finding = race(Subject(checkpoint, [example], checkpoint.thoughts), index=0)
    (written,) = answer(checkpoint, [example.question])
    gold = f"Written out: {' '.join(example.steps)} Answer: {example.answer}."
    text = [example.question, f"{gold} The model wrote {written.text!r} after its thoughts."]
    return Section(finding.title, svg(finding.figure), finding.note, text)


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table("row", "accuracy", "tokens", "thoughts", "s/question", "updates", "training")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['accuracy']:.1%}", f"{row['tokens']:.1f}", f"{row['thoughts']:.0f}",
            f"{row['seconds_per_example']:.4f}", f"{row['updates']:,}", f"{row['training_seconds']:.0f} s",
        )  # fmt: skip
    return table


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
