"""Ctrl-C while training: a checkpoint first, then the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

NOTE = b"\ninterrupted: saves at the end of this update, or of the validation (Ctrl-C again stops at once)\n"


class SaveOnInterrupt(TrainerCallback):  # type: ignore[misc]
    """Raises KeyboardInterrupt after a checkpoint at the end of the update in which SIGINT came."""

    def __init__(self) -> None:
        self.interrupted = False

    @contextmanager
    def handle(self) -> Iterator[None]:
        """Inside, the first SIGINT is handled so, and a second one raises KeyboardInterrupt at once.

        Nothing changes outside of the main thread, where the process handles SIGINT in a way of its own, and with
        several processes: their launcher ends them, and they would save at different updates.
        """
        main = threading.current_thread() is threading.main_thread()
        several = int(os.environ.get("WORLD_SIZE") or 1) > 1
        if not main or several or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, NOTE)  # The signal may have come inside a print, which must not be entered again.

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint, except at an epoch's end, where one follows the validation."""
        per_epoch = int(state.max_steps) // int(args.num_train_epochs)
        if self.interrupted and state.global_step % per_epoch != 0:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop, now that the checkpoint has been written."""
        if self.interrupted:
            raise KeyboardInterrupt
