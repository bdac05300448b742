"""The examples of a run, and what its folder says of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from latentcot.config import RunConfig
from latentcot.core import Example, UserError
from latentcot.data import records
from latentcot.data.filters import shown
from latentcot.data.records import SkippedRecords, describe_missing_steps, take_first
from latentcot.data.sources import spelled


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
    def known(self) -> int:
        """Validation questions that are trained on."""
        trained = {example.question for example in self.train}
        return sum(example.question in trained for example in self.valid)

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
    if valid and found.known == len(valid):
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
    known = data.known
    return text + (f"; {known:,} of {len(data.valid):,} validation questions are among them" if known else "")
