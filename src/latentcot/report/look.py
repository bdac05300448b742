"""One analysis from end to end: read what is to be looked at, find out, write the figure and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentcot.checkpoint import Checkpoint, load
from latentcot.core import Example, Slot, UserError
from latentcot.data import records
from latentcot.data.choices import choices
from latentcot.data.graph import graph_of, has_graph
from latentcot.data.sources import Sources, spelled
from latentcot.files import refuse_existing
from latentcot.report import findings
from latentcot.report.findings import Finding, Subject
from latentcot.report.inputs import Inputs, Need
from latentcot.report.write import finding_files, write_finding


def look(inputs: Inputs, name: str, need: Need | None, options: Mapping[str, Any]) -> None:
    """Write what the finding `name` says of the inputs; UserError, with nothing written, for any fault of them."""
    refuse_existing(*finding_files(inputs.out, name))
    subject = _subject(inputs, need)
    finding = getattr(findings, name)(subject, **options)
    context = {
        "checkpoint": str(inputs.checkpoint),
        "row": subject.checkpoint.row,
        "data": inputs.data,
        "sha256": records.digest(subject.examples),
        "questions": len(subject.examples),
        "thoughts": subject.thoughts,
    }
    _write(inputs.out, finding, context)


def look_at_runs(runs: Sequence[Path], out: Path) -> None:
    """Write the sweep over finished runs; UserError, with nothing written, for any fault of them."""
    refuse_existing(*finding_files(out, "sweep"))
    _write(out, findings.sweep(runs), {"runs": [str(run) for run in runs]})


def _write(out: Path, finding: Finding, context: Mapping[str, Any]) -> None:
    """Write the files of a finding, and say what it is and where they are."""
    write_finding(out, finding, context)
    print(finding.title)
    print(finding.note)
    for path in finding_files(out, finding.name):
        print(path)


def _subject(inputs: Inputs, need: Need | None) -> Subject:
    examples = records.take_first(records.stream(inputs.data, inputs.columns), inputs.limit)
    checkpoint = load(inputs.checkpoint, trust_remote_code=inputs.trust_remote_code)
    if checkpoint.frame.slot is Slot.NONE:
        raise UserError(
            f"{inputs.checkpoint}: the row {checkpoint.row} has no thoughts to look into: give a checkpoint of a row "
            "that has, such as Coconut"
        )
    thoughts = checkpoint.thoughts if inputs.thoughts is None else inputs.thoughts
    require(checkpoint, examples, thoughts, inputs.data, need)
    return Subject(checkpoint, examples, thoughts, inputs.batch_size)


def require(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: int, data: Sources, need: Need | None = None
) -> None:
    """UserError, with source and record, unless the checkpoint can be asked every question and each has the need."""
    for number, example in enumerate(examples, 1):
        try:
            checkpoint.layout(example.question, thoughts)
            if need is not None:
                NEEDS[need](example)
        except UserError as error:
            raise UserError(f"{spelled(data)}: record {number}: {error}") from error


def meets(examples: Sequence[Example], need: Need) -> bool:
    """Whether every example has what an analysis needs."""
    try:
        for example in examples:
            NEEDS[need](example)
    except UserError:
        return False
    return True


def _need_graph(example: Example) -> None:
    if not has_graph(example):
        raise UserError("no graph beside the question, which this analysis needs: give a ProsQA set")
    graph_of(example).heights()


def _need_choices(example: Example) -> None:
    choices(example, 0)


NEEDS: dict[Need, Callable[[Example], None]] = {"graph": _need_graph, "choices": _need_choices}
"""Each raises a UserError for an example that lacks it."""
