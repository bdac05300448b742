"""The examples of a run, and what its folder says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from latentcot.config import RunConfig
from latentcot.core import Example, UserError
from latentcot.data import records
from latentcot.data.filters import shown
from latentcot.data.leaks import Overlap, find_overlap, question_keys
from latentcot.data.records import SkippedRecords, describe_missing_steps, take_first
from latentcot.data.sources import origins, spelled
from latentcot.files import read_object
from latentcot.recipe import Layer, merge


@dataclass(frozen=True)
class RunData:
    """What a run trains on and validates with: after the filter, within the limits."""

    train: list[Example]
    valid: list[Example]
    dropped: Counter[str]
    """Records that each limit of the filter dropped, of those that were read until there were enough."""
    skipped: SkippedRecords
    """Faulty records that were left out."""

    @cached_property
    def overlap(self) -> Overlap:
        """Validation questions that are trained on."""
        return find_overlap(self.valid, question_keys(self.train) if self.valid else ())

    def sha256(self) -> dict[str, str]:
        """The hash of the examples of each set, wherever they were read from."""
        return {name: records.digest(part) for name, part in (("train", self.train), ("valid", self.valid)) if part}

    def counts(self) -> dict[str, Any]:
        """Numbers of examples, and of those that were dropped."""
        skipped = {"skipped": self.skipped.count} if self.skipped.count else {}
        return {"train": len(self.train), "valid": len(self.valid), "dropped": dict(self.dropped)} | skipped


def read_data(config: RunConfig) -> RunData:
    """Read what a configuration names; UserError where it is missing or faulty."""
    data = config.data
    if data.train is None:
        raise UserError("data.train is missing: give the source of training records")
    if data.valid is None and config.curriculum.advance_at is not None:
        raise UserError("curriculum.advance_at needs validation: give data.valid, or leave advance_at out")
    dropped, skipped = Counter[str](), SkippedRecords(data.skip_faults)
    kept = data.filter.keep(records.stream(data.train, data.columns, skipped), dropped)
    train = take_first(kept, data.train_limit)
    validation = () if data.valid is None else records.stream(data.valid, data.columns, skipped)
    valid = take_first(validation, data.valid_limit)
    found = RunData(train, valid, dropped, skipped)
    if valid and found.overlap.count == len(valid):
        raise UserError(
            f"data.valid: all {len(valid):,} questions of {spelled(data.valid or [])} are trained on, which chooses "
            "what is learnt by heart: give others (`latentcot data split` keeps some back)"
        )
    return found


def describe_data(config: RunConfig, data: RunData) -> str:
    """What is trained on, in one line."""
    assert config.data.train is not None
    notes = shown(config.data.filter, data.dropped), describe_missing_steps(data.train), str(data.skipped)
    text = ", ".join([f"{spelled(config.data.train)}: {len(data.train):,} training records", *filter(None, notes)])
    overlap = data.overlap
    if not overlap.count:
        return text
    return (
        f"{text}; {overlap.count:,} of {overlap.n:,} validation questions are among them, the first is record "
        f"{overlap.first}, {overlap.question!r:.60}"
    )


def find_trained_on(checkpoint: Path, examples: Sequence[Example]) -> Overlap:
    """Return which of the examples the run of a checkpoint was trained on, by what its config.yaml says.

    UserError, which says why, where that cannot be told: there is no such file, or the training data is not on this
    machine or has changed since.
    """
    hint = "it tells what was trained on"
    file = next((f for f in (checkpoint / "config.yaml", checkpoint.parent / "config.yaml") if f.is_file()), None)
    if file is None:
        raise UserError(f"{checkpoint / 'config.yaml'}: is missing: {hint}")
    described = read_object(file, hint)
    config = merge([Layer(str(file), {"data": described.get("data")})])
    config = replace(config, data=replace(config.data, valid=None))
    if config.data.train is None:
        raise UserError(f"{file}: names no training data")
    for origin in origins(config.data.train):
        if not Path(origin.name).exists():
            raise UserError(f"{origin.name}: is no file on this machine")
    data = read_data(config)
    if described.get("sha256", {}).get("train") != data.sha256().get("train"):
        raise UserError(f"{spelled(config.data.train)}: has changed since")
    return find_overlap(examples, question_keys(data.train))
