"""Batched answers: think, then the model's own `generate()` over the same KV cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from latentcot.batch import collate
from latentcot.core import Layout, Prediction
from latentcot.think import roll

if TYPE_CHECKING:
    from latentcot.checkpoint import Checkpoint


def answer(
    checkpoint: Checkpoint,
    questions: Sequence[str],
    *,
    thoughts: int | None = None,
    batch_size: int = 64,
    **sampling: Any,
) -> list[Prediction]:
    """Answer questions, each in at most the checkpoint's budget of written tokens.

    `thoughts` forces the number of thoughts (the checkpoint's own by default). Decoding is greedy unless `sampling`
    says otherwise: any option of transformers' `generate`, such as `do_sample`, `temperature` or `streamer`.
    UserError if a question is empty, or too long for the model's positions together with its thoughts.
    """
    wanted = checkpoint.thoughts if thoughts is None else thoughts
    layouts = [checkpoint.layout(question, wanted) for question in questions]
    predictions: dict[int, Prediction] = {}
    for indices in _batches(layouts, batch_size):
        written = _generate(checkpoint, [layouts[index] for index in indices], sampling)
        for index, ids in zip(indices, written, strict=True):
            tokens = len(ids) + checkpoint.frame.counted(wanted)
            text = checkpoint.tokenizer.decode(ids, skip_special_tokens=True)
            predictions[index] = Prediction(text, tokens, checkpoint.frame.counted(wanted))
    return [predictions[index] for index in range(len(layouts))]


def _batches(layouts: Sequence[Layout], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of prompts of like length, to pad little."""
    order = sorted(range(len(layouts)), key=lambda index: len(layouts[index].prompt))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


@torch.inference_mode()
def _generate(checkpoint: Checkpoint, layouts: Sequence[Layout], sampling: dict[str, Any]) -> list[list[int]]:
    """The written tokens of each layout, eos and what follows it cut off."""
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    batch = collate(layouts, tokenizer.pad_token_id).to(model.device)
    if batch.thoughts.any():
        latent = roll(model, batch)
        # generate() skips as many ids as the cache holds; those at the thoughts are never read.
        filler = torch.full_like(latent.mask[:, batch.prompt.shape[1] :], tokenizer.pad_token_id, dtype=torch.long)
        ids = torch.cat([batch.prompt, filler, batch.rest], dim=1)
        mask, cache = torch.cat([latent.mask, batch.rest_mask], dim=1), latent.cache
    else:
        ids = torch.cat([batch.prompt, batch.rest], dim=1)
        mask, cache = torch.cat([batch.prompt_mask, batch.rest_mask], dim=1), None
    budget = checkpoint.max_new_tokens
    if checkpoint.positions is not None:
        budget = min(budget, checkpoint.positions - ids.shape[1])
    # What follows eos is cut off, so any id may fill it; at the model's own, transformers warns of a missing mask.
    fill = int(tokenizer.pad_token_id == 0)
    options = {"do_sample": False, "max_new_tokens": budget, "pad_token_id": fill, **sampling}
    output = model.generate(
        input_ids=ids,
        attention_mask=mask.long(),
        past_key_values=cache,
        eos_token_id=tokenizer.eos_token_id,
        use_cache=True,
        **options,
    )
    return [_until(row, tokenizer.eos_token_id) for row in output[:, ids.shape[1] :].tolist()]


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
