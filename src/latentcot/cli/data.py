"""The verbs of `latentcot data`: make, convert, split and check."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from latentcot.cli.verbs import Verbs
from latentcot.config import RunConfig
from latentcot.core import Example, UserError
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.data.filters import NO_FILTER, Filter, shown
from latentcot.data.sources import spelled
from latentcot.files import refuse_existing
from latentcot.ranges import Count, CountOrZero, Range, Seed
from latentcot.recipe import load_config

Nodes = Annotated[int, Range(1, 200)]
"""The names of concepts run out well before so many nodes have one each."""


def make_prosqa(
    out: Path,
    seed: Seed = 0,
    train: Count = 17886,
    valid: Count = 300,
    test: Count = 500,
    nodes: Nodes = 28,
    hops_min: Count = 3,
    hops_max: Count = 6,
    parents: Annotated[float, Range(0, 100, without_least=True)] = 1.5,
    entities: CountOrZero = 0,
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
    _write_splits(
        _new_files(out), prosqa.make_splits(sizes, seed, nodes=nodes, hops=hops, parents=parents, entities=entities)
    )


def make_walks(
    out: Path,
    seed: Seed = 0,
    train: Count = 16000,
    valid: Count = 200,
    test: Count = 200,
    nodes: Nodes = 6,
    hops_min: Count = 1,
    hops_max: Count = 3,
    form: Literal["named", "asked"] = "named",
) -> None:
    """Write OUT/train.json, valid.json and test.json of ProsQA graphs whose every fact is walked, disjoint as graphs.

    Args:
        out: Folder to write to; files that are there stay.
        seed: The same seed gives the same files.
        train: Number of training questions.
        valid: Number of validation questions.
        test: Number of test questions.
        nodes: Nodes of the ProsQA graph before isolated ones are dropped.
        hops_min: Fewest hops of the ProsQA question.
        hops_max: Most hops of the ProsQA question.
        form: named: a line of names for each walk; asked: one walk from the asked entity, a step for each fact, and no
            options in the question.
    """
    from latentcot.data import walks

    sizes, hops = {"train": train, "valid": valid, "test": test}, (hops_min, hops_max)
    _write_splits(_new_files(out), walks.make_splits(sizes, seed, nodes=nodes, hops=hops, form=form))


def make_prontoqa(
    out: Path, seed: Seed = 0, train: Count = 9000, valid: Count = 200, test: Count = 800, hops: Count = 5
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

    _write_splits(
        _new_files(out), prontoqa.make_splits({"train": train, "valid": valid, "test": test}, seed, hops=hops)
    )


def make_chains(
    out: Path,
    seed: Seed = 0,
    train: Count = 6400,
    valid: Count = 250,
    test: Count = 500,
    symbols: Count = 6,
    alphabet: Count = 8,
    hops: Count = 4,
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
    _write_splits(_new_files(out), chains.make_splits(sizes, seed, symbols=symbols, alphabet=alphabet, hops=hops))


def _new_files(out: Path) -> dict[str, Path]:
    """The files of the three splits, before anything is made; UserError if one is there."""
    files = {name: out / f"{name}.json" for name in ("train", "valid", "test")}
    refuse_existing(*files.values())
    return files


def _write_splits(files: dict[str, Path], splits: dict[str, Any]) -> None:
    from latentcot.data import records

    for name, examples in splits.items():
        file = files[name]
        records.write(file, examples)
        print(f"{file}: {len(examples):,} questions, sha256 {records.digest(examples)}")


def convert_data(
    sources: list[str],
    out: Path,
    columns: Columns = AS_NAMED,
    filter: Filter = NO_FILTER,
    steps: Literal["named"] | None = None,
    skip_faults: CountOrZero = 0,
    without: str | list[str] | None = None,
) -> None:
    """Write one record file of any sources.

    Args:
        sources: What to read, in this order.
        out: File to write, .json or .jsonl; one that is there stays.
        columns: Where a source of your own has its question, steps and answer.
        filter: Which records to keep.
        steps: named: ProsQA's facts as names in one line, each found from the one before it as a thought is.
        skip_faults: Leave out and count at most so many faulty records; one more stops.
        without: Leave out the questions of this source or these, as of the training data from a test set.
    """
    from latentcot.data import prosqa, records

    if out.suffix not in (".json", ".jsonl"):
        raise UserError(f"{out}: records are JSON or JSONL: end the name in .json or .jsonl")
    refuse_existing(out)
    examples = _read(sources, columns, filter, skip_faults)
    if without is not None:
        examples = _leave_out(examples, without, columns)
    if steps == "named":
        examples = [prosqa.named(example) for example in examples]
    records.write(out, examples)
    print(f"{out}: {len(examples):,} records, sha256 {records.digest(examples)}")


def _leave_out(examples: list[Example], sources: str | list[str], columns: Columns) -> list[Example]:
    """Return the examples whose questions the sources lack, and print how many others there were."""
    from latentcot.data import records
    from latentcot.data.leaks import question_keys

    keys = question_keys(records.stream(sources, columns))
    kept = [example for example in examples if records.question_key(example.question) not in keys]
    print(f"{len(examples) - len(kept):,} of {len(examples):,} questions are in {spelled(sources)} and left out")
    if not kept:
        raise UserError(f"no record is left without the questions of {spelled(sources)}: give others")
    return kept


def split_data(
    sources: list[str],
    out: Path,
    valid: CountOrZero,
    test: CountOrZero,
    seed: Seed = 0,
    columns: Columns = AS_NAMED,
    filter: Filter = NO_FILTER,
    skip_faults: CountOrZero = 0,
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
        skip_faults: Leave out and count at most so many faulty records; one more stops.
    """
    from latentcot.data.holdout import hold_out

    examples = _read(sources, columns, filter, skip_faults)
    _write_splits(_new_files(out), hold_out(examples, {"valid": valid, "test": test}, seed))


def _read(sources: list[str], columns: Columns, limits: Filter, skip_faults: int) -> list[Example]:
    """The examples that the limits keep; what was left out is printed."""
    from latentcot.data import records

    dropped, skipped = Counter[str](), records.SkippedRecords(skip_faults)
    examples = list(limits.keep(records.stream(sources, columns, skipped), dropped))
    for note in (shown(limits, dropped), str(skipped), records.describe_missing_steps(examples)):
        if note:
            print(note)
    return examples


def check_data(
    sources: list[str],
    columns: Columns = AS_NAMED,
    recipe: str | None = None,
    tokenizer: str | None = None,
    skip_faults: CountOrZero = 0,
) -> None:
    """Read sources whole, print statistics and every fault; exit 0 when sound, 2 when not.

    Args:
        sources: What to read; several are also compared with each other.
        columns: Where a source of your own has its question, steps and answer.
        recipe: Also tell what the curriculum of this recipe will do with all the records, in its model's tokens.
        tokenizer: Count in the tokens of this tokenizer instead (hub id or folder; words: one token a word).
        skip_faults: At most so many faulty records, of all sources together, are counted and no faults.
    """
    from latentcot.data.check import check, render

    report = check(sources, columns, skip_faults)
    print(render(report))
    if report.examples and (recipe or tokenizer):
        _print_forecast(report.examples, recipe, tokenizer)
    if report.faults:
        faults = len(report.faults)
        raise UserError(
            f"{faults:,} {'fault' if faults == 1 else 'faults'} found, named above: mend or remove those records"
        )


def _print_forecast(examples: list[Example], recipe: str | None, tokenizer: str | None) -> None:
    from latentcot.training.forecast import forecast, render

    config = load_config(recipe) if recipe else RunConfig()
    if tokenizer:
        scratch = replace(config.model.scratch, tokenizer=tokenizer)
        config = replace(config, model=replace(config.model, base=None, scratch=scratch))
    print(f"{config.method.name} of {recipe or 'the default curriculum'} on all records")
    print(render(forecast(config, examples)))


SOURCES = {
    "nargs": "+",
    "type": str,
    "help": "Files, patterns, sets (gsm8k-aug, gsm8k, svamp, gsm-hard, multiarith; :SPLIT), owner/name on the hub.",
}

VERBS: Verbs = {
    ("data", "make", "prosqa"): (make_prosqa, {}),
    ("data", "make", "walks"): (make_walks, {}),
    ("data", "make", "prontoqa"): (make_prontoqa, {}),
    ("data", "make", "chains"): (make_chains, {}),
    ("data", "convert"): (convert_data, {"sources": SOURCES}),
    ("data", "split"): (split_data, {"sources": SOURCES}),
    ("data", "check"): (check_data, {"sources": SOURCES}),
}
