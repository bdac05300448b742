"""One training run, from configuration to a finished folder; the same command continues an interrupted one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, set_seed

from latentcot.checkpoint import Checkpoint, start
from latentcot.config import RunConfig, to_mapping
from latentcot.core import Example, UserError
from latentcot.curriculum import stage_at
from latentcot.data.sources import spelled
from latentcot.runs.claims import Claim
from latentcot.runs.folder import RunFolder
from latentcot.speed.memory import kept_memory
from latentcot.think import prove_exact
from latentcot.tokens import texts_of
from latentcot.training.data import RunData, describe_data, read_data
from latentcot.training.dataset import TrainingSet
from latentcot.training.interrupt import SaveOnInterrupt
from latentcot.training.opening import open_run, record_environment
from latentcot.training.processes import OneDeviceArguments, fsdp_is_wanted, settle_fsdp, unused_devices_note
from latentcot.training.progress import Progress
from latentcot.training.trainer import ThoughtTrainer, is_learned


def train(config: RunConfig, run: str | Path, held: Claim | None = None) -> dict[str, Any]:
    """Train `config` in the folder `run`, or continue what was interrupted there, and return the result.

    `held` is the lock of the folder, where the caller has it. UserError, with nothing written, if the configuration or
    the data is faulty, `run` holds another run, or another process works on it.
    """
    folder = RunFolder(run)
    data = read_data(config)
    described = {**to_mapping(config), "sha256": data.sha256()}
    finished = folder.finished(described)
    if finished is not None:
        return finished
    checkpoint, dataset = prepare(config, data.train, data.valid)
    _require_same_stages(config, folder, described, dataset)
    arguments = _arguments(config, folder, len(dataset))
    with open_run(folder, described, arguments, held) as opening, kept_memory():
        if opening.finished is not None:
            return opening.finished
        if opening.resume:
            _end_where_learned(arguments, dataset, opening.resume)
        settle_fsdp(arguments, opening.resume, config.train.optimizer)
        arguments.distributed_state.wait_for_everyone()  # Nothing is written unless all processes can begin.
        update = int(opening.resume.name.rpartition("-")[2]) if opening.resume else 0
        if arguments.process_index == 0:
            folder.write_config(described)
            record_environment(folder, arguments, config.train.precision, update)
            print(describe_data(config, data), flush=True)
            if note := unused_devices_note():
                print(note, flush=True)
            if update:
                print(f"goes on after update {update}", flush=True)
        trainer = _run_updates(config, data, folder, checkpoint, dataset, arguments, opening.resume)
        result = _result(config, data, trainer)
        if trainer.accelerator.is_main_process:
            folder.write_result(result)
        trainer.accelerator.wait_for_everyone()
    return result


def _run_updates(
    config: RunConfig,
    data: RunData,
    folder: RunFolder,
    checkpoint: Checkpoint,
    dataset: TrainingSet,
    arguments: OneDeviceArguments,
    resume: Path | None,
) -> ThoughtTrainer:
    """Train to the end from `resume`, or from the start, and keep the best checkpoint; return the trainer."""
    progress, interrupt = Progress(dataset), SaveOnInterrupt()
    trainer = ThoughtTrainer(checkpoint, dataset, data.valid, folder, config.train, arguments, [progress, interrupt])
    with interrupt.handle(), progress:
        trainer.train(resume_from_checkpoint=resume and str(resume))
    if not trainer.validations(len(dataset.plan) - 1):  # None asked for, or the epochs ended before the last stage.
        trainer.keep("best")
    return trainer


def _require_same_stages(
    config: RunConfig, folder: RunFolder, described: Mapping[str, Any], dataset: TrainingSet
) -> None:
    """UserError if more epochs than the folder's run has would change the stages of those that it has."""
    epochs = folder.fewer_epochs(folder.read_config() or {}, described)
    if epochs is None:
        return
    before = config.method.plan(replace(config.curriculum, epochs=epochs), int(dataset.samples.chains().max()))
    if any(stage_at(before, epoch) != stage_at(dataset.plan, epoch) for epoch in range(epochs)) or [
        replace(stage, epochs=0) for stage in before
    ] != [replace(stage, epochs=0) for stage in dataset.plan]:
        raise UserError(f"{folder.path}: with more epochs its first stages would be others: give --run a new folder")


def prepare(config: RunConfig, examples: Sequence[Example], valid: Sequence[Example]) -> tuple[Checkpoint, TrainingSet]:
    """The checkpoint to train and its training set; every fault of the configuration shows here."""
    set_seed(config.seed)
    model, tokenizer, markers = start(config.model, texts_of(examples))
    dataset = TrainingSet(
        examples,
        tokenizer,
        markers,
        config.method,
        config.curriculum,
        seed=config.seed,
        reshuffle=config.data.reshuffle,
        rename=config.data.rename,
        teach=config.train.thought_loss > 0,
        frontier=config.data.frontier,
    )
    frame = config.method.frame(markers)
    thoughts = dataset.plan[-1].thoughts
    named = any(step.startswith(" ") for example in examples for step in example.steps[1:])
    checkpoint = Checkpoint(model, tokenizer, frame, thoughts, config.method.name, config.train.max_new_tokens, named)
    checkpoint.precision = config.train.precision
    _require_room(config, checkpoint, dataset, valid)
    prove_exact(model, frame.layout((), max(stage.thoughts for stage in dataset.plan)))
    return checkpoint, dataset


def _require_room(config: RunConfig, checkpoint: Checkpoint, dataset: TrainingSet, valid: Sequence[Example]) -> None:
    """Faults of the data show before the first update, not after the first epoch; UserError names source and record."""
    try:
        dataset.require_room(checkpoint.positions)
    except UserError as error:
        filtered = " after its filter" if config.data.filter.limits() else ""
        raise UserError(f"{spelled(config.data.train or [])}{filtered}: {error}") from error
    for number, example in enumerate(valid, 1):
        try:
            checkpoint.layout(example.question)
        except UserError as error:
            raise UserError(f"{spelled(config.data.valid or [])}: record {number}: {error}") from error


def _arguments(config: RunConfig, folder: RunFolder, examples: int) -> OneDeviceArguments:
    train = config.train
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # As every launcher sets it.
    if train.batch_size % processes:
        raise UserError(f"train.batch_size {train.batch_size} must be a multiple of the {processes} processes")
    micro = most_at_once(train.batch_size // processes, train.micro_batch)
    # What is to replace it does not do the same yet, says the warning itself.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    return OneDeviceArguments(
        output_dir=str(folder.resume),
        seed=config.seed,
        num_train_epochs=config.curriculum.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=train.batch_size // processes // micro,
        learning_rate=train.lr,
        weight_decay=train.weight_decay,
        adam_beta2=train.beta2,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(train.schedule, train.schedule),
        warmup_steps=train.warmup_steps,
        max_grad_norm=train.clip,
        bf16=train.precision == "bf16",
        use_cpu=not torch.accelerator.is_available(),
        logging_nan_inf_filter=False,
        logging_steps=max(1, examples // train.batch_size // 4),
        save_strategy="no",
        save_total_limit=None,  # The Trainer would go by the times of the folders; see RunFolder.keep_to_resume.
        report_to=train.report_to,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        # FSDP2 would otherwise keep whole gradients, in bf16, from one micro-batch to the next.
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": fsdp_is_wanted()}},
        # Processes may make different numbers of passes, and a buffer broadcast in each pass would hang.
        ddp_broadcast_buffers=False,
        ddp_find_unused_parameters=False,
    )


def most_at_once(share: int, limit: int | None) -> int:
    """The largest micro-batch, of at most `limit` rows, that the `share` of a process in an update divides into."""
    return max(rows for rows in range(1, min(share, limit or share) + 1) if share % rows == 0)


def where_it_goes_on(run: Path) -> str:
    """Return what the same command does with a run that was interrupted, in words."""
    folder = RunFolder(run)
    if folder.result.is_file():
        return "the run was finished"
    resume = folder.last_checkpoint()
    if resume is None:
        return "no checkpoint was written yet: the same command begins anew"
    return f"the same command goes on after update {resume.name.rpartition('-')[2]}"


def _end_where_learned(arguments: OneDeviceArguments, dataset: TrainingSet, resume: Path) -> None:
    """Plan no more epochs than there were if the log says that the last one has ended the run (`advance_at`)."""
    state = TrainerState.load_from_json(str(resume / "trainer_state.json"))
    epoch = round(state.epoch) - 1
    if is_learned(dataset, epoch, state):
        arguments.num_train_epochs = epoch + 1


def _result(config: RunConfig, data: RunData, trainer: ThoughtTrainer) -> dict[str, Any]:
    stages = []
    for number, stage in enumerate(trainer.dataset.plan):
        history = trainer.validations(number)
        if history:
            stages.append({"stage": number, "thoughts": stage.thoughts, "accuracy": history[-1]["eval_accuracy"]})
    fed, seconds = trainer.dataset.fed, trainer.state.log_history[-1]["seconds"]
    last = trainer.validations(len(trainer.dataset.plan) - 1)
    best = max(last, key=lambda entry: (entry["eval_accuracy"], entry["epoch"]), default=None)
    return {
        "row": config.method.name,
        "seed": config.seed,
        "precision": config.train.precision,
        "data": data.counts(),
        "updates": trainer.state.global_step,
        "parameters": trainer.model.num_parameters(),
        "seconds": seconds,
        "padding": round(fed.padding, 4),
        "waiting": round(fed.waited / max(seconds, 0.1), 4),
        "stages": stages,
        "best": {key.removeprefix("eval_"): value for key, value in (best or {}).items() if key.startswith("eval_")},
    }
