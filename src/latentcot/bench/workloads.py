"""The contestants: what latentcot does and what stands beside it, on the same random tokens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from latentcot.batch import collate
from latentcot.bench.floor import Sizes
from latentcot.bench.timing import Precision, clock, mixed, peak_memory, wait
from latentcot.core import NO_LABEL, Batch, Layout
from latentcot.generate import generate_ids, read_prefix
from latentcot.think import target_loss, think, unroll

CUE = 1
PAD = 0


def layouts(model: PreTrainedModel, sizes: Sizes, seed: int) -> list[Layout]:
    """Questions of equal length, of random tokens of the model, with a cue of one token."""
    rng, vocabulary = random.Random(seed), model.config.get_text_config().vocab_size
    return [
        Layout(
            prompt=tuple(rng.choices(range(vocabulary), k=sizes.prompt)),
            thoughts=sizes.thoughts,
            cue=(CUE,),
            target=tuple(rng.choices(range(vocabulary), k=sizes.target)),
        )
        for _ in range(sizes.batch)
    ]


def batch_of(model: PreTrainedModel, sizes: Sizes, seed: int) -> Batch:
    """The random questions as a batch on the model's device."""
    return collate(layouts(model, sizes, seed), PAD).to(model.device)


def whole(batch: Batch) -> Tensor:
    """Prompt, thoughts and rest as one sequence of tokens [B, P + N + R], any at the thoughts."""
    thoughts = batch.prompt.new_full((len(batch.prompt), int(batch.thoughts.max())), PAD)
    return torch.cat([batch.prompt, thoughts, batch.rest], dim=1)


def coconut_update(model: PreTrainedModel, batch: Batch, precision: Precision) -> None:
    """Forward and backward through the thought loop, loss at the targets."""
    with mixed(model.device, precision):
        loss = target_loss(think(model, batch).logits, batch.labels) / (batch.labels != NO_LABEL).sum()
    loss.backward()  # type: ignore[no-untyped-call]


def ordinary_update(model: PreTrainedModel, ids: Tensor, precision: Precision) -> None:
    """Forward and backward of the stock model, with its own loss at every token; no cache, as a Trainer calls it."""
    with mixed(model.device, precision):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss
    loss.backward()


def updates(model: PreTrainedModel, sizes: Sizes, precision: Precision, seed: int) -> dict[str, Callable[[], None]]:
    """The update of Coconut and the ordinary one of as many tokens."""
    batch = batch_of(model, sizes, seed)
    return {
        "coconut": partial(coconut_update, model, batch, precision),
        "ordinary": partial(ordinary_update, model, whole(batch), precision),
    }


def update_clock(model: PreTrainedModel, update: Callable[[], None]) -> Callable[[], float]:
    """Seconds of an update in training mode. Dropping the gradients before it does not count; no optimizer steps."""

    def seconds() -> float:
        model.train().zero_grad()
        return clock(update, model.device)

    return seconds


def update_memory(model: PreTrainedModel, update: Callable[[], None]) -> int:
    """Bytes that an update takes at its peak beside the weights: activations and gradients, no optimizer state."""
    model.train().zero_grad()
    return peak_memory(update, model.device)


@torch.inference_mode()
def thought_seconds(model: PreTrainedModel, batch: Batch, steps: int, precision: Precision) -> float:
    """Seconds of one thought after the prompt: the mean of `steps` that follow it."""
    with mixed(model.device, precision):
        states = unroll(model.eval(), replace(batch, thoughts=torch.full_like(batch.thoughts, steps)))
        next(states)
        return clock(lambda: list(states), model.device) / steps


@torch.inference_mode()
def token_seconds(model: PreTrainedModel, batch: Batch, steps: int, precision: Precision) -> float:
    """Seconds of one token in the stock `generate` after the first, which the prompt's own pass gives: the mean of as
    many as there were thoughts, so that both meet the same lengths of the cache."""
    stamps = Stamps(model.device, steps)
    with mixed(model.device, precision):
        stock_generate(model, batch.prompt, steps + 1, StoppingCriteriaList([stamps]))
    return stamps.seconds / steps


class Stamps(StoppingCriteria):  # type: ignore[misc]
    """Never stops `generate`: it notes the time after the first token and after `steps` more."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device, self.steps, self.tokens = device, steps, 0
        self.began = self.seconds = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        if self.tokens in (0, self.steps):
            wait(self.device)
            self.began, self.seconds = time.perf_counter(), time.perf_counter() - self.began
        self.tokens += 1
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def stock_generate(
    model: PreTrainedModel, ids: Tensor, tokens: int, criteria: StoppingCriteriaList | None = None
) -> Tensor:
    """Prompt and exactly so many tokens, greedy, by the model's own `generate`."""
    mask = torch.ones_like(ids)
    output: Tensor = model.eval().generate(
        ids, attention_mask=mask, max_new_tokens=tokens, stopping_criteria=criteria, **_endless(model)
    )
    return output


@torch.inference_mode()
def coconut_answers(model: PreTrainedModel, batch: Batch, tokens: int, precision: Precision) -> Tensor:
    """Think, then write exactly so many tokens [B, tokens], greedy."""
    with mixed(model.device, precision):
        prefix = read_prefix(model.eval(), batch, PAD)
        return generate_ids(model, prefix, max_new_tokens=tokens, **_endless(model))


@torch.inference_mode()
def stock_answers(model: PreTrainedModel, batch: Batch, tokens: int, precision: Precision) -> Tensor:
    """The same without thoughts, by the model's own `generate`."""
    with mixed(model.device, precision):
        return stock_generate(model, batch.prompt, tokens)


def _endless(model: PreTrainedModel) -> dict[str, Any]:
    """Options of `generate` under which no answer ends before its budget: its end token is none of the vocabulary."""
    end: int = model.config.get_text_config().vocab_size
    return {"do_sample": False, "eos_token_id": end, "pad_token_id": end}
