"""Batched answers: think, then the model's own `generate()` over the same KV cache. And the thoughts alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentcot.architecture import Together
from latentcot.batch import collate
from latentcot.core import Batch, Layout, Prediction, Slot, UserError
from latentcot.think import batch_plan, roll

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from latentcot.checkpoint import Checkpoint


def answer(
    checkpoint: Checkpoint,
    questions: Sequence[str],
    *,
    thoughts: int | None = None,
    batch_size: int = 64,
    fed: Tensor | None = None,
    **sampling: Any,
) -> list[Prediction]:
    """Answer questions, each in at most the checkpoint's budget of written tokens.

    `thoughts` forces the number of thoughts (the checkpoint's own by default), and `fed`, [questions, thoughts, H],
    what is fed as thoughts in place of the model's own states. Decoding is greedy unless `sampling` says otherwise: any
    option of transformers' `generate`, such as `do_sample`, `temperature` or `streamer`.
    UserError if a question is empty, or too long for the model's positions together with its thoughts.
    """
    wanted = checkpoint.thoughts if thoughts is None else thoughts
    layouts = [checkpoint.layout(question, wanted) for question in questions]
    predictions: dict[int, Prediction] = {}
    for indices in batches(layouts, batch_size, checkpoint.model):
        states = None if fed is None else fed[indices].to(checkpoint.model.device)
        written = _generate(checkpoint, [layouts[index] for index in indices], states, sampling)
        for index, ids in zip(indices, written, strict=True):
            tokens = len(ids) + checkpoint.frame.counted(wanted)
            text = checkpoint.tokenizer.decode(ids, skip_special_tokens=True)
            predictions[index] = Prediction(text, tokens, checkpoint.frame.counted(wanted))
    return [predictions[index] for index in range(len(layouts))]


@torch.inference_mode()
def thoughts_of(
    checkpoint: Checkpoint, questions: Sequence[str], *, thoughts: int | None = None, batch_size: int = 64
) -> Tensor:
    """The thoughts of every question, [questions, thoughts, H] on the CPU: the states that the model is fed.

    UserError if there are none.
    """
    layouts = thinking_layouts(checkpoint, questions, thoughts)
    found: dict[int, Tensor] = {}
    for indices in batches(layouts, batch_size, checkpoint.model):
        batch = collate([layouts[index] for index in indices], checkpoint.tokenizer.pad_token_id)
        states = roll(checkpoint.model, batch.to(checkpoint.model.device)).states
        found |= zip(indices, states[:, :-1].cpu(), strict=True)
    return torch.stack([found[index] for index in range(len(layouts))])


def thinking_layouts(checkpoint: Checkpoint, questions: Sequence[str], thoughts: int | None) -> list[Layout]:
    """The questions laid out; UserError if they have no thoughts: none in the checkpoint's row, or `thoughts` is 0."""
    if checkpoint.frame.slot is not Slot.STATE:
        raise UserError(f"the row {checkpoint.row} has no continuous thoughts: give the checkpoint of a row that has")
    layouts = [checkpoint.layout(question, thoughts) for question in questions]
    if not layouts[0].thoughts:
        raise UserError("the number of thoughts is 0: give 1 or more")
    return layouts


def batches(layouts: Sequence[Layout], batch_size: int, model: PreTrainedModel) -> Iterator[list[int]]:
    """Indices in batches of prompts of like length, to pad little; of equal length where the model's plan has it so.

    The layouts have equally many thoughts.
    """
    lengths = [len(layout.prompt) for layout in layouts]
    order = sorted(range(len(layouts)), key=lambda index: lengths[index])
    groups: Iterable[Iterable[int]] = [order]
    if batch_plan(model).together is Together.SAME_SHAPE:
        groups = (group for _, group in groupby(order, key=lambda index: lengths[index]))
    for group in groups:
        indices = list(group)
        for first in range(0, len(indices), batch_size):
            yield indices[first : first + batch_size]


def write(model: PreTrainedModel, batch: Batch, filler: int, fed: Tensor | None = None, **options: Any) -> Tensor:
    """Think, then write: ids [B, W] after the rest of each row, greedy unless the options of `generate` say otherwise.

    `filler` is any id of the vocabulary.
    """
    # The prompt goes through the thought loop in any case: generate()'s own masks leave rows of its padding empty.
    if batch.prompt.shape[1] and (batch.thoughts.any() or not batch_plan(model).refusal):
        latent = roll(model, batch, fed)
        # generate() skips as many ids as the cache holds; those at the thoughts are never read.
        thoughts = torch.full_like(latent.mask[:, batch.prompt.shape[1] :], filler, dtype=torch.long)
        ids = torch.cat([batch.prompt, thoughts, batch.rest], dim=1)
        mask, cache = torch.cat([latent.mask, batch.rest_mask], dim=1), latent.cache
    else:
        ids = torch.cat([batch.prompt, batch.rest], dim=1)
        mask, cache = torch.cat([batch.prompt_mask, batch.rest_mask], dim=1), None
    options = {"do_sample": False, **options}
    output: Tensor = model.generate(
        input_ids=ids, attention_mask=mask.long(), past_key_values=cache, use_cache=True, **options
    )
    return output[:, ids.shape[1] :]


@torch.inference_mode()
def _generate(
    checkpoint: Checkpoint, layouts: Sequence[Layout], fed: Tensor | None, sampling: dict[str, Any]
) -> list[list[int]]:
    """The written tokens of each layout, eos and what follows it cut off."""
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    batch = collate(layouts, tokenizer.pad_token_id).to(model.device)
    budget = checkpoint.max_new_tokens
    if checkpoint.positions is not None:
        budget = min(
            budget, checkpoint.positions - batch.prompt.shape[1] - int(batch.thoughts.max()) - batch.rest.shape[1]
        )
    # What follows eos is cut off, so any id may fill it; at the model's own, transformers warns of a missing mask.
    fill = int(tokenizer.pad_token_id == 0)
    options = {"max_new_tokens": budget, "pad_token_id": fill, **sampling}
    written = write(model, batch, tokenizer.pad_token_id, fed, eos_token_id=tokenizer.eos_token_id, **options)
    return [_until(row, tokenizer.eos_token_id) for row in written.tolist()]


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
