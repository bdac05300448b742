"""Thoughts read as tokens (section 5 of the paper, "decoding"): three views of each thought.

- *head*: the LM head on the thought, the tokens it would have become had the model gone on in words (of the few models
  that cap their logits, before the cap);
- *nearest*: the token embeddings closest to it, what the first layer may take it for;
- *layer*: the final norm and the head on the state of each layer where the thought arises (the logit lens), layer 0
  being the embedding and the last layer the thought itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.checkpoint import Checkpoint, final_norm
from latentcot.core import Batch, Example
from latentcot.generate import batches, thinking_layouts
from latentcot.think import batch_plan, roll

View = Literal["head", "nearest", "layer"]


@dataclass(frozen=True)
class Token:
    """A token that a view of a thought ranks high."""

    index: int | None
    """The example; None for the mean over all of them."""
    thought: int
    """From 1."""
    view: View
    layer: int
    rank: int
    """From 1."""
    token: str
    score: float
    """A probability, for *nearest* a cosine."""


@torch.inference_mode()
def decode(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    *,
    thoughts: int | None = None,
    top: int = 5,
    batch_size: int = 64,
) -> list[Token]:
    """The `top` tokens of each thought: of every example by *head* and *nearest*, on the mean by all three views.

    UserError if the checkpoint has no continuous thoughts.
    """
    layouts = thinking_layouts(checkpoint, [example.question for example in examples], thoughts)
    found: list[Token] = []
    totals: dict[tuple[View, int], Tensor] = {}
    for indices in batches(layouts, batch_size, checkpoint.model):
        batch = collate([layouts[index] for index in indices], checkpoint.tokenizer.pad_token_id)
        layers = layer_states(checkpoint.model, batch.to(checkpoint.model.device))
        for view, layer, scores in _views(checkpoint.model, layers):
            totals[view, layer] = totals.get((view, layer), 0) + scores.sum(dim=0)
            if view != "layer":
                for index, one in zip(indices, scores, strict=True):
                    found += _top(checkpoint, one, top, index, view, layer)
    found.sort(key=lambda token: token.index or 0)
    for (view, layer), total in totals.items():
        found += _top(checkpoint, total / len(examples), top, None, view, layer)
    return found


def layer_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The state of every layer where each thought arises, [B, K, L + 1, H]: the embedding first, the thought last."""
    batch_plan(model)  # Found here if it has to be, since that takes passes that are none of the batch's.
    passes: list[Tensor] = []
    hook = model.register_forward_hook(
        lambda _module, _inputs, output: passes.append(torch.stack([s[:, -1] for s in output.hidden_states], dim=1))
    )
    try:
        roll(model, batch)
    finally:
        hook.remove()
    # The pass over the prompt makes the first thought; what the last pass makes is no thought.
    return torch.stack(passes[:-1], dim=1)


def _views(model: PreTrainedModel, layers: Tensor) -> Iterator[tuple[View, int, Tensor]]:
    """Each view, its layer and its scores of every token [B, K, V], for the states of `layer_states`."""
    last, norm, head = layers.shape[2] - 1, final_norm(model) or nn.Identity(), model.get_output_embeddings()
    thoughts, embeddings = layers[:, :, last], model.get_input_embeddings().weight
    yield "head", last, head(thoughts).float().softmax(dim=-1)
    yield "nearest", last, functional.normalize(thoughts, dim=-1) @ functional.normalize(embeddings, dim=-1).T
    for layer in range(last + 1):  # The last state has been through the norm already.
        states = thoughts if layer == last else norm(layers[:, :, layer])
        yield "layer", layer, head(states).float().softmax(dim=-1)


def _top(
    checkpoint: Checkpoint, scores: Tensor, count: int, index: int | None, view: View, layer: int
) -> Iterator[Token]:
    """The tokens with the highest scores, thought by thought; `scores` is [K, V]."""
    best = scores.topk(min(count, scores.shape[-1]), dim=-1)
    for thought, (values, ids) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), 1):
        for rank, (score, token) in enumerate(zip(values, ids, strict=True), 1):
            yield Token(index, thought, view, layer, rank, checkpoint.tokenizer.decode([token]), score)
