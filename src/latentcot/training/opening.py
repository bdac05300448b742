"""How the processes of one launch open a run's folder: one lock for all of them, one place to go on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

from latentcot import provenance
from latentcot.core import UserError
from latentcot.runs.claims import Claim
from latentcot.runs.folder import RunFolder
from latentcot.runs.launcher import ends_with_launcher


@dataclass(frozen=True)
class Opening:
    """What every process of a launch has to know of the run's folder."""

    claim: Claim
    finished: dict[str, Any] | None
    """The result, if another process has finished the run meanwhile."""
    resume: Path | None
    """The checkpoint that the run goes on from."""


@contextmanager
def open_run(
    folder: RunFolder, described: Mapping[str, Any], arguments: TrainingArguments, held: Claim | None
) -> Iterator[Opening]:
    """Hold the lock of the run `described` while the context lasts: rank 0 holds it, and the others belong to it.

    `held` is the lock where the caller has it already. UserError, in every process, if another launch holds it, or the
    folder holds anything else or nothing sound to go on from.
    """
    with ExitStack() as stack:
        stack.enter_context(ends_with_launcher())
        found: list[Opening | UserError] = [UserError("")]
        if arguments.process_index == 0:
            try:
                claim = held or stack.enter_context(folder.lock())
                finished = folder.finished(described)
                folder.sweep()
                found[0] = Opening(claim, finished, None if finished else _last_checkpoint(folder))
            except UserError as error:
                found[0] = error
        arguments.distributed_state.wait_for_everyone()
        broadcast_object_list(found)
        opening = found[0]
        if isinstance(opening, UserError):
            raise opening
        folder.claim = opening.claim
        try:
            yield opening
        finally:
            folder.claim = None


def _last_checkpoint(folder: RunFolder) -> Path | None:
    """The checkpoint to go on from; UserError if a finished run, asked for more epochs, has none."""
    checkpoint = folder.last_checkpoint()
    if checkpoint is None and folder.result.is_file():
        raise UserError(
            f"{folder.path}: is finished, and more epochs need {folder.resume}, which is gone: give --run a new folder"
        )
    return checkpoint


def record_environment(folder: RunFolder, arguments: TrainingArguments, precision: str, update: int) -> None:
    """Note with the run what its updates hang on; warn in a line if threads or processes changed since the last piece.

    Sums are split among threads and processes, so that their last digits differ with the number of either.
    """
    used = {
        **provenance.versions(),
        "machine": provenance.machine(),
        "device": arguments.device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "processes": arguments.world_size,
    }
    before = folder.record_environment(used, update)
    changed = [
        f"{before[name]} {name} before, {used[name]} now"
        for name in ("threads", "processes")
        if before and before.get(name) not in (None, used[name])
    ]
    if changed:
        print(f"warning: {', '.join(changed)}: the run goes on, but not bit for bit as without the break", flush=True)
