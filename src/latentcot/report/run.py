"""`latentcot report`: one page on a run, with every figure that applies to it.

OUT.html    the page, which needs no other file and no network
OUT/        its figures as PNG and SVG, and their numbers as CSV and JSON
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentcot.checkpoint import load
from latentcot.config import flat
from latentcot.core import Example, Slot, UserError
from latentcot.data import records
from latentcot.data.columns import Columns
from latentcot.data.sources import Sources, spelled
from latentcot.evaluation.answers import evaluate
from latentcot.files import refuse_existing
from latentcot.report import findings
from latentcot.report.findings import Finding, Subject
from latentcot.report.look import meets, require
from latentcot.report.page import Page, Section, write_page
from latentcot.report.plots.curves import learning_curves
from latentcot.report.plots.style import svg
from latentcot.report.write import write_finding
from latentcot.runs.records import AGAIN, read_config, read_evaluation, read_log, read_result

ANSWERS = 8
"""Answers that a page shows."""


def report(run: Path, out: Path, data: Sources | None, limit: int, trust_remote_code: bool = False) -> Path:
    """Write the report of a run to `out` and return it. UserError if the run is not finished or `out` is there.

    Figures that look into thoughts, and answers, need questions: `data`, or the run's validation set where it is
    still what it was.
    """
    folder = out.with_suffix("")
    if folder == out:
        raise UserError(f"{out}: give --out a name that ends in .html")
    refuse_existing(out, folder)
    config, result = read_config(run), read_result(run)
    metrics, found = _results(run, result), [_learning(run.name, read_log(run))]
    answers: list[dict[str, Any]] = []
    source = config["data"]["valid"] if data is None else data
    examples, said = _validation(run, config) if data is None else (records.read(data), "")
    if examples:
        subject = _subject(run, source, examples[:limit], trust_remote_code)
        for finding in _findings(subject):
            print(finding.title, file=sys.stderr, flush=True)  # One may take half a minute.
            found.append(finding)
        answers = evaluate(subject.checkpoint, subject.examples[:ANSWERS]).records()
        said = f"{len(subject.examples):,} of {spelled(source)}, sha256 {records.digest(subject.examples)}"
    for finding in found:
        write_finding(folder, finding, {"run": str(run), "questions": said})
    facts = {
        "run": run,
        "questions of the figures and answers": said,
        "parameters": f"{result['parameters']:,}",
        "accuracy at the end of each stage": ", ".join(
            f"{stage['stage']}: {stage['accuracy']:.1%}" for stage in result["stages"]
        ),
        **{key: value for key, value in flat(config).items() if value is not None},
    }
    sections = [_section(finding) for finding in found]
    page = Page(f"latentcot: {result['row']}", facts, sections, metrics, "measured on", answers)
    write_page(out, page)
    return out


def _section(finding: Finding) -> Section:
    text = [finding.summary["question"]] if "question" in finding.summary else []
    return Section(finding.title, svg(finding.figure), finding.note, text)


def _subject(run: Path, source: Sources, examples: list[Example], trust_remote_code: bool) -> Subject:
    checkpoint = load(run, trust_remote_code=trust_remote_code)
    require(checkpoint, examples, checkpoint.thoughts, source)
    return Subject(checkpoint, examples, checkpoint.thoughts)


def _validation(run: Path, config: dict[str, Any]) -> tuple[list[Example], str]:
    """The run's validation examples; none, and why, if they cannot be used."""
    part = config["data"]
    if part["valid"] is None:
        return [], "left out: the run has no validation set; give one with --data"
    try:
        columns = Columns(**part.get("columns", {}))
    except TypeError as error:
        raise UserError(f"{run / 'config.yaml'}: data.columns is no set of columns ({error}): {AGAIN}") from error
    try:
        skipped = records.SkippedRecords(part.get("skip_faults", 0))  # Runs of before do not say.
        examples = records.take_first(records.stream(part["valid"], columns, skipped), part.get("valid_limit"))
    except UserError as error:
        return [], f"left out, the validation set is gone ({error}); give one with --data"
    if records.digest(examples) != config["sha256"].get("valid"):
        return [], f"left out: {spelled(part['valid'])} is no longer what the run was validated on; give --data"
    return examples, ""


def _findings(subject: Subject) -> Iterator[Finding]:
    """Every analysis that the row and the questions allow."""
    checkpoint, examples = subject.checkpoint, subject.examples
    if checkpoint.frame.slot is Slot.NONE or not subject.thoughts:
        return
    yield findings.interpolation(subject)
    # A report without a case study is no fault: there may be no question that thinking mends.
    with suppress(UserError):
        yield findings.case(subject)
    longest = max(range(len(examples)), key=lambda index: len(examples[index].steps))
    if meets(examples, "graph"):
        yield replace(findings.tree(subject, longest), name="tree-of-one")
        yield findings.tree(subject)
        yield findings.height(subject)
    if meets(examples, "choices"):
        yield replace(findings.race(subject, longest), name="race-of-one")
        yield findings.race(subject)
        yield findings.parallelism(subject)
    if checkpoint.frame.slot is Slot.STATE:
        yield findings.decode(subject)
        yield findings.health(subject)
        if len(examples) > 1:
            yield findings.faithfulness(subject)


def _learning(name: str, log: list[dict[str, Any]]) -> Finding:
    note = "Dotted lines mark where a stage begins. Each removes one more step and puts thoughts in its place."
    return Finding("learning", "Learning, stage by stage", note, learning_curves({name: log}), log)


def _results(run: Path, result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The best checkpoint on validation, and every `latentcot eval` that was written beside it."""
    training = {"updates": result["updates"], "training_seconds": result["seconds"]}
    rows = {"validation": result["best"] | training} if result["best"] else {}
    return rows | {file.stem: read_evaluation(file) for file in sorted(run.glob("eval-*.json"))}
