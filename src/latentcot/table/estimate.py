"""What a table will take, from updates and answers that are really made: nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil

import torch

from latentcot.bench.timing import mixed, wait
from latentcot.checkpoint import Checkpoint
from latentcot.config import RunConfig
from latentcot.core import NO_LABEL, Batch, Example
from latentcot.curriculum import stage_at
from latentcot.data import records
from latentcot.evaluation.answers import evaluate
from latentcot.table.cells import Cell, start_of
from latentcot.table.work import is_done
from latentcot.think import target_loss, think
from latentcot.training.data import read_data
from latentcot.training.dataset import Collator, TrainingSet
from latentcot.training.run import prepare


@dataclass(frozen=True)
class Estimate:
    """One row on one data set, for each of the `runs` that are left of it."""

    dataset: str
    row: str
    runs: int
    parameters: int
    updates: int
    update_seconds: tuple[float, float]
    """Of one update in the first and in the last stage."""
    answer_seconds: tuple[float, float]
    """Of one answer in the first and in the last stage."""
    seconds: float
    """Of training, validation and test together; the most that it takes where stages may end early."""
    kept: int
    """Bytes that stay on disk."""
    while_training: int
    """Bytes more that a run needs until it ends."""


def estimate(cells: Sequence[Cell], say: Callable[[str], None] = lambda _: None) -> list[Estimate]:
    """An estimate for each row and data set of which runs are left, measured on this machine; says what is next."""
    order = sorted((cell for cell in cells if not is_done(cell)), key=lambda cell: (cell.dataset, cell.row))
    found = []
    for (dataset, row), group in groupby(order, key=lambda cell: (cell.dataset, cell.row)):
        left = list(group)
        say(f"measuring {dataset}/{row}")
        found.append(_measure(left[0], _config(left[0], cells), len(left)))
    return found


def _config(cell: Cell, cells: Sequence[Cell]) -> RunConfig:
    """The cell's configuration, with the model that its start began from: the start need not be trained yet."""
    start = start_of(cell, cells)
    return cell.config if start is None else replace(cell.config, model=_config(start, cells).model)


def _measure(cell: Cell, config: RunConfig, runs: int) -> Estimate:
    data = read_data(config)
    examples, valid = data.train, data.valid
    checkpoint, dataset = prepare(config, examples, valid)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    checkpoint.model.to(device)
    last = len(dataset.plan) - 1
    updates = (_update(checkpoint, dataset, config, 0), _update(checkpoint, dataset, config, last))
    answers = (_answer(checkpoint, dataset, config, 0, valid), _answer(checkpoint, dataset, config, last, valid))

    per_epoch, seconds = ceil(len(examples) / config.train.batch_size), 0.0
    for epoch in range(config.curriculum.epochs):
        part = stage_at(dataset.plan, epoch) / max(last, 1)
        seconds += per_epoch * _between(updates, part)
        seconds += len(valid) / config.train.eval_every * _between(answers, part)
    weights = 4 * int(checkpoint.model.num_parameters())
    return Estimate(
        dataset=cell.dataset,
        row=cell.row,
        runs=runs,
        parameters=weights // 4,
        updates=per_epoch * config.curriculum.epochs,
        update_seconds=updates,
        answer_seconds=answers,
        seconds=seconds + len(records.read(cell.test)) * answers[1],
        kept=weights * (1 + (len(dataset.plan) if config.train.keep_stages else 0)),
        while_training=6 * weights,  # Two checkpoints to resume from: the weights, and Adam's two moments.
    )


def _between(ends: tuple[float, float], part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part


def _update(checkpoint: Checkpoint, dataset: TrainingSet, config: RunConfig, stage: int) -> float:
    """Seconds of one update at a stage: those of two micro-batches after a first, to the size of the batch."""
    train, model, collate = config.train, checkpoint.model.train(), Collator(checkpoint.tokenizer.pad_token_id)
    size = min(train.micro_batch or train.batch_size, len(dataset))
    dataset.move(0, stage)
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr)
    took = []
    for number in range(3):
        layouts = dataset.__getitems__([(number * size + index) % len(dataset) for index in range(size)])
        began = time.perf_counter()
        batch = Batch(**collate(layouts)).to(model.device)
        with mixed(model.device, train.precision):
            loss = target_loss(think(model, batch).logits, batch.labels) / (batch.labels != NO_LABEL).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        wait(model.device)
        took.append(time.perf_counter() - began)
    began = time.perf_counter()
    optimizer.step()
    optimizer.zero_grad()
    wait(model.device)
    return sum(took[1:]) / 2 * train.batch_size / size + time.perf_counter() - began


def _answer(
    checkpoint: Checkpoint, dataset: TrainingSet, config: RunConfig, stage: int, valid: Sequence[Example]
) -> float:
    """Seconds of one answer at a stage, in a batch of validation, as long as the stage's targets are on average."""
    dataset.move(0, stage)
    layouts = dataset.__getitems__(range(min(len(dataset), 64)))
    budget = min(ceil(sum(len(layout.target) for layout in layouts) / len(layouts)), config.train.max_new_tokens)
    asked = replace(checkpoint, thoughts=dataset.plan[stage].thoughts, max_new_tokens=budget)
    asked.model.eval()
    batch = list(valid[: config.train.eval_batch_size])
    return evaluate(asked, batch, batch_size=config.train.eval_batch_size).seconds / len(batch)
