"""The transformers Trainer, with the thought loop as its loss and the curriculum as its clock."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from latentcot.checkpoint import Checkpoint
from latentcot.config import TrainConfig
from latentcot.core import NO_LABEL, Batch, Example
from latentcot.curriculum import stage_at
from latentcot.evaluation.answers import Evaluation, evaluate
from latentcot.evaluation.health import check_up, warnings
from latentcot.runs.folder import RunFolder
from latentcot.think import target_loss, think, thought_loss, unwrap
from latentcot.training.dataset import Collator, TrainingSet, positions_of
from latentcot.training.grouping import LengthGrouped, SortedUpdates
from latentcot.training.optimizer import MuonAndAdamW
from latentcot.training.processes import Shards, agree, forget_repeats
from latentcot.training.updates import LossMeter, Update, mean_loss

CHECKED = 16
"""Validation questions whose thoughts are measured."""


class ThoughtTrainer(Trainer):  # type: ignore[misc]
    """Trains a checkpoint on a `TrainingSet`. It does not know which row of the table it trains.

    The best checkpoint of the last stage by accuracy on `valid` (the later one of equals) is kept in `run`/best.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dataset: TrainingSet,
        valid: Sequence[Example],
        run: RunFolder,
        config: TrainConfig,
        args: TrainingArguments,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.losses = LossMeter()
        super().__init__(
            model=checkpoint.model,
            args=args,
            train_dataset=dataset,
            data_collator=Collator(checkpoint.tokenizer.pad_token_id),
            processing_class=checkpoint.tokenizer,
            callbacks=[clock := Clock(dataset, config, run, self.losses), *callbacks],
        )
        self.remove_callback(PrinterCallback)
        # The loss is divided by the targets of the whole update, so it is scaled for accumulation already.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.checkpoint, self.dataset, self.valid = checkpoint, dataset, valid
        self.run, self.config, self.clock = run, config, clock
        self.shards: Shards | None = None
        if self.is_fsdp_enabled:
            self.shards = Shards(checkpoint.model, self.accelerator.state.fsdp_plugin.reshard_after_forward)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A tied weight is no loss: it is in the file under its other name."""
        tied = getattr(unwrap(self.model), "all_tied_weights_keys", {})
        load_result.missing_keys[:] = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As `train.decay` says. The stock Trainer leaves out biases and norms, and decays embeddings."""
        if self.config.decay == "all":
            return [name for name, _ in model.named_parameters()]
        embeddings = {
            id(weight)
            for module in model.modules()
            if isinstance(module, nn.Embedding)
            for weight in module.parameters()
        }
        return [name for name, weight in model.named_parameters() if weight.ndim > 1 and id(weight) not in embeddings]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW, unless the configuration asks for another."""
        if self.config.optimizer == "muon" and self.optimizer is None:
            network, config = unwrap(model or self.model), self.config
            decayed = self.get_decay_parameter_names(network)
            made = MuonAndAdamW(network, decayed, lr=config.lr, beta2=config.beta2, decay=config.weight_decay)
            self.optimizer: torch.optim.Optimizer | None = made
        ready: torch.optim.Optimizer = super().create_optimizer(model)
        return ready

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.config.group_by_length == "within_updates":
            rows = self.args.per_device_train_batch_size
            return SortedUpdates(self.dataset, self.config.batch_size, rows)
        if self.config.group_by_length:
            return LengthGrouped(self.dataset, self.config.batch_size)
        return super()._get_train_sampler(train_dataset)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of one update, and the number of its targets over all processes."""
        began = time.perf_counter()
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.dataset.fed.waited += time.perf_counter() - began
        # Now that the batches are made, the device has had time to finish the update before.
        self.losses.settle(self.accelerator)
        if self.accelerator.gradient_state.end_of_dataloader:
            rank, world = self.accelerator.process_index, self.accelerator.num_processes
            forget_repeats(batches[-1], len(self.dataset), self.args.per_device_train_batch_size, rank, world)
        for batch in batches:
            self.dataset.fed.count(batch)
        targets = sum(int((batch["labels"] != NO_LABEL).sum()) for batch in batches)
        taught = sum(
            int((batch["taught"] != NO_LABEL).any(2).sum()) for batch in batches if batch["taught"] is not None
        )
        if self.shards:
            most = max(stage.thoughts for stage in self.dataset.plan)
            batches = agree(batches, self.model, most, self.accelerator)
        counts: Tensor = self.accelerator.gather(torch.tensor([[targets, taught]], device=device))
        targets, self.taught = counts.sum(dim=0)
        return batches, targets

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Six operations for each parameter and position (Kaplan et al. 2020, section 2.1)."""
        return 6 * int(unwrap(self.model).num_parameters()) * positions_of(inputs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean loss over the targets of the whole update, whatever the micro-batches and processes it was cut into."""
        batch = Batch(**inputs)
        trace = think(model, batch)
        # DDP averages the gradients of the processes where we need their sum.
        loss = target_loss(trace.logits, batch.labels) * self.accelerator.num_processes / num_items_in_batch
        if batch.taught is not None:
            share = self.config.thought_loss * self.accelerator.num_processes / self.taught.clamp(min=1)
            loss = loss + thought_loss(trace.said, batch.thoughts, batch.taught) * share
        if self.shards:
            # FSDP2 readies a pass's weights for backward only if the loss hangs on what the pass returns.
            loss = loss + 0 * (trace.states.sum() + trace.said.sum())
        return (loss, trace) if return_outputs else loss

    def training_step(self, model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Forward and backward of one micro-batch."""
        last = self.accelerator.sync_gradients
        with self.shards.micro_batch(last) if self.shards else nullcontext():
            loss: Tensor = super().training_step(model, *args, **kwargs)
        self.losses.add(loss)
        if last:
            (rate, *_) = self.lr_scheduler.get_last_lr()
            self.losses.end_update(Update(self.state.global_step + 1, self.dataset.stage, rate), model)
        return loss

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Save the weights, which a checkpoint begins with; UserError, with nothing written, once training diverged."""
        self.losses.settle(self.accelerator)
        self.losses.require_finite(self.model)
        super().save_model(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint to resume from, which takes its name when all processes have written their parts."""
        update, folder = self.state.global_step, self.args.output_dir
        with self.run.resume_draft(update) as draft:
            self.args.output_dir = str(draft)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = folder
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                self.run.keep_to_resume(draft, update)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Every log line says which stage it belongs to, and how long the run has taken so far.

        Losses are means over the whole run, or over all updates since the line before, however often it was
        interrupted: those of the stock Trainer cover this piece of the run alone, as do its speeds, which are left out.
        """
        if "loss" in logs:
            self.losses.settle(self.accelerator)
            logs = {**logs, "loss": self.losses.take_mean()}
        if "train_loss" in logs:
            logs = {"total_flos": logs["total_flos"], "train_loss": mean_loss(self.state.log_history)}
        super().log({**logs, "stage": self.dataset.stage, "seconds": round(self.clock.seconds(), 1)}, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Validate at the current stage: accuracy of generated answers, each example answered by one process once."""
        self.losses.settle(self.accelerator)
        self.losses.require_finite(self.model)
        stage = self.dataset.stage
        metrics: dict[str, float] = {}
        if self.valid:
            with self.shards.whole() if self.shards else nullcontext():
                metrics = {**self.validate(), **self.check_up()}
        if metrics and stage == len(self.dataset.plan) - 1:
            best = max((entry["eval_accuracy"] for entry in self.validations(stage)), default=0.0)
            if metrics["eval_accuracy"] >= best:
                self.keep("best")
        if self.config.keep_stages:
            self.keep(f"stage-{stage}")
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def validate(self) -> dict[str, float]:
        """accuracy, tokens, thoughts and seconds per example on the validation set, with the prefix eval_."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.model.eval()
        share = evaluate(self.current(), self.valid[rank::world], batch_size=self.config.eval_batch_size)
        predictions: list[Any] = [None] * len(self.valid)
        for number, prediction in gather_object(
            [(rank + world * index, prediction) for index, prediction in enumerate(share.predictions)]
        ):
            predictions[number] = prediction
        metrics = Evaluation(self.valid, predictions, share.seconds, share.precision).metrics()
        return {f"eval_{name}": value for name, value in metrics.items() if isinstance(value, float)}

    def check_up(self) -> dict[str, float]:
        """The health of the thoughts on a few validation questions, with the prefix eval_; warned about in words."""
        measured = check_up(self.current(), [example.question for example in self.valid[:CHECKED]])
        if self.accelerator.is_main_process:
            for words in warnings(measured):
                print(f"warning: stage {self.dataset.stage}: {words}", flush=True)
        return {f"eval_{name}": value for name, value in measured.items() if math.isfinite(value)}

    def current(self) -> Checkpoint:
        """The model as it is, answering with the current stage's number of thoughts."""
        thoughts = self.dataset.plan[self.dataset.stage].thoughts
        return replace(self.checkpoint, model=unwrap(self.model), thoughts=thoughts)

    def keep(self, name: str) -> None:
        """Save the current checkpoint under a name in the run's folder."""
        weights = self.accelerator.get_state_dict(self.model) if self.shards else None
        if self.accelerator.is_main_process:
            with self.run.new_checkpoint(name) as draft:
                self.current().save(draft, weights)

    def validations(self, stage: int) -> list[dict[str, Any]]:
        """The log's validations at a stage, in order."""
        return [e for e in self.state.log_history if "eval_accuracy" in e and e["stage"] == stage]


class Clock(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Moves the training set through epochs and stages, resets the optimizer, says when to validate and to save.

    What it counts is part of a checkpoint.
    """

    def __init__(self, dataset: TrainingSet, config: TrainConfig, run: RunFolder, losses: LossMeter) -> None:
        self.dataset, self.config, self.run, self.losses = dataset, config, run, losses
        self.spent, self.began = 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """Return what has been counted, for the checkpoint."""
        losses, fed = self.losses, self.dataset.fed
        counts = {"loss_total": losses.total, "loss_count": losses.count, **vars(fed)}
        return {"args": {}, "attributes": {"counts": counts}}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Go on where an interrupted run had come to: with its seconds, its counts and its stage."""
        self.spent = max((entry["seconds"] for entry in state.log_history), default=0.0)
        self.began = time.perf_counter()
        # Checkpoints of earlier versions hold no counts.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        counts = dict(saved["attributes"]["counts"])
        self.losses.total, self.losses.count = counts.pop("loss_total"), counts.pop("loss_count")
        vars(self.dataset.fed).update(counts)
        # A run that was interrupted after its last update begins no epoch any more.
        epoch = min(state.global_step // self._updates_per_epoch(args, state), int(args.num_train_epochs) - 1)
        self.dataset.move(epoch, self._stage_at(epoch, state))

    def seconds(self) -> float:
        """Seconds of training, validations included, over all the pieces that the run came in."""
        return self.spent + time.perf_counter() - self.began

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move to the epoch's stage, and reset the optimizer where the curriculum says."""
        epoch, within = divmod(state.global_step, self._updates_per_epoch(args, state))
        self.dataset.move(epoch, self._stage_at(epoch, state))
        changes = epoch > 0 and self._stage_at(epoch - 1, state) != self.dataset.stage
        # A run that resumes inside the epoch has reset the optimizer already.
        if within == 0 and self.dataset.curriculum.resets(epoch, changes):
            kwargs["optimizer"].state.clear()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint inside the epoch where it is due."""
        # At the end of an epoch the checkpoint waits for the validation, or resuming from it would skip that.
        inside = state.global_step % self._updates_per_epoch(args, state) != 0
        if self.config.save_steps and inside and state.global_step % self.config.save_steps == 0:
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a log line and a checkpoint, and for a validation where it is due."""
        epoch = self.dataset.epoch
        stage_ends = epoch + 1 == args.num_train_epochs or self._stage_at(epoch + 1, state) != self.dataset.stage
        control.should_log = control.should_save = True
        control.should_evaluate = stage_ends or (epoch + 1) % self.config.eval_every == 0

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the training once the last stage is learned."""
        if is_learned(self.dataset, self.dataset.epoch, state):
            control.should_training_stop = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the log anew, whole."""
        if state.is_world_process_zero:
            self.run.write_log(state.log_history)

    def _stage_at(self, epoch: int, state: TrainerState) -> int:
        return stage_at(self.dataset.plan, epoch, _accuracies(state), self.dataset.curriculum.advance_at)

    @staticmethod
    def _updates_per_epoch(args: TrainingArguments, state: TrainerState) -> int:
        return int(state.max_steps) // int(args.num_train_epochs)


def _accuracies(state: TrainerState) -> dict[int, float]:
    """Accuracy on validation by epoch (from 0); the log is saved with every checkpoint, so a resumed run has it."""
    return {round(e["epoch"]) - 1: e["eval_accuracy"] for e in state.log_history if "eval_accuracy" in e}


def is_learned(dataset: TrainingSet, epoch: int, state: TrainerState) -> bool:
    """Whether the log says that an epoch (from 0) ended the last stage, and with it the run, by `advance_at`."""
    at, accuracies = dataset.curriculum.advance_at, _accuracies(state)
    last = stage_at(dataset.plan, epoch, accuracies, at) == len(dataset.plan) - 1
    return last and at is not None and accuracies.get(epoch, 0.0) >= at
