"""One bar: stage, epoch, loss, thoughts, tokens per second, time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich import progress
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from latentcot.training.dataset import TrainingSet


class Progress(TrainerCallback):  # type: ignore[misc]
    """Draws the bar in a terminal; elsewhere prints one line at each validation."""

    def __init__(self, dataset: TrainingSet) -> None:
        self.dataset = dataset
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeRemainingColumn(),
        )
        self.loss, self.accuracy = "", ""
        self.began, self.positions = 0.0, 0
        self.stage = dataset.stage

    def __enter__(self) -> None:
        """Leave the terminal as it was, whatever ends the training inside."""

    def __exit__(self, *_: object) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock, and the bar in a terminal."""
        self.began, self.positions = time.perf_counter(), self.dataset.fed.positions
        self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step, note="")
        if state.is_world_process_zero and self.bar.console.is_terminal:
            self.bar.start()

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Forget the loss and the accuracy of another stage."""
        if self.dataset.stage != self.stage:
            self.stage, self.loss, self.accuracy = self.dataset.stage, "", ""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar to the update that has ended."""
        stage = self.dataset.plan[self.dataset.stage]
        self.bar.update(
            self.task,
            completed=state.global_step,
            description=f"stage {self.dataset.stage}/{len(self.dataset.plan) - 1} epoch {self.dataset.epoch + 1}/"
            f"{int(args.num_train_epochs)}",
            note=f"{stage.thoughts} thoughts{self.loss}{self.accuracy}{self._speed()}",
        )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Take up the newest loss and accuracy; outside a terminal, print a line for a validation."""
        if "loss" in logs:
            self.loss = f"  loss {logs['loss']:.3f}"
        if "eval_accuracy" in logs:
            self.accuracy = f"  accuracy {logs['eval_accuracy']:.1%}"
            if state.is_world_process_zero and not self.bar.console.is_terminal:
                print(
                    f"stage {self.dataset.stage} epoch {self.dataset.epoch + 1}/{int(args.num_train_epochs)}"
                    f"{self.loss}{self.accuracy}{self._speed()}  {time.perf_counter() - self.began:.0f} s",
                    flush=True,
                )

    def _speed(self) -> str:
        elapsed = time.perf_counter() - self.began
        return f"  {(self.dataset.fed.positions - self.positions) / elapsed:,.0f} tokens/s" if elapsed else ""
