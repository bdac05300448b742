"""A re-creation of the published algorithm, from its description: what latentcot is measured against.

The published code keeps the embeddings of a batch as lists of one tensor a position, and builds them anew for every
thought. A pass feeds the positions that are new, over the keys and values of the pass before, cut to where it starts.
Every pass computes all hidden states, and logits at every position, which are joined for the loss at the end. Answers
are written one question at a time, the whole sequence run again for every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from latentcot.core import NO_LABEL, Layout
from latentcot.speed.cache import cache_argument


@dataclass(frozen=True)
class Padded:
    """Rows as one sequence each, [B, L]: padded on the left so that thoughts begin together, then on the right."""

    ids: Tensor
    mask: Tensor
    positions: Tensor
    labels: Tensor
    """The token itself where it is a target."""
    thoughts: tuple[int, ...]
    """How many each row has."""
    first: int
    """The column where they begin."""


def pad(layouts: Sequence[Layout], device: torch.device | None = None) -> Padded:
    """Layouts as a batch; any token stands where a thought will be."""
    first = max(len(layout.prompt) for layout in layouts)
    rows = [(*layout.prompt, *(0,) * layout.thoughts, *layout.cue, *layout.target) for layout in layouts]
    starts = [first - len(layout.prompt) for layout in layouts]
    shape = len(rows), max(start + len(row) for start, row in zip(starts, rows, strict=True))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, NO_LABEL)
    for number, (start, row, layout) in enumerate(zip(starts, rows, layouts, strict=True)):
        end = start + len(row)
        ids[number, start:end] = torch.tensor(row)
        mask[number, start:end] = 1
        labels[number, end - len(layout.target) : end] = torch.tensor(layout.target, dtype=torch.long)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    ids, mask, positions, labels = (tensor.to(device) for tensor in (ids, mask, positions, labels))
    return Padded(ids, mask, positions, labels, tuple(layout.thoughts for layout in layouts), first)


def unrolled(model: PreTrainedModel, padded: Padded) -> tuple[Tensor, Tensor]:
    """Logits [B, L, V], and the embeddings [B, L, H] that the last pass was a part of."""
    embeddings = model.get_input_embeddings()(padded.ids)
    total, end = max(padded.thoughts), padded.ids.shape[1]
    logits: list[Tensor] = []
    cache = None
    begin, until = 0, padded.first if total else end
    for number in range(total):
        output = _run(model, padded, embeddings, begin, until, cache)
        logits.append(output.logits)
        embeddings = _with_thoughts(embeddings, output.hidden_states[-1][:, -1], padded, number)
        cache = output[cache_argument(type(model).forward)]
        begin, until = until, until + 1 if number + 1 < total else end
    logits.append(_run(model, padded, embeddings, begin, until, cache).logits)
    return torch.cat(logits, dim=1), embeddings


def _run(
    model: PreTrainedModel, padded: Padded, embeddings: Tensor, begin: int, until: int, cache: DynamicCache | None
) -> Any:
    """Columns `begin` to `until`, over the keys and values of those before them."""
    before = None
    if cache is not None:
        cut = [(layer.keys[:, :, :begin], layer.values[:, :, :begin]) for layer in cache.layers]
        before = DynamicCache(cut, config=model.config)
    return model(
        inputs_embeds=embeddings[:, begin:until],
        attention_mask=padded.mask[:, :until],
        position_ids=padded.positions[:, begin:until],
        output_hidden_states=True,
        use_cache=True,
        **{cache_argument(type(model).forward): before},
    )


def _with_thoughts(embeddings: Tensor, states: Tensor, padded: Padded, number: int) -> Tensor:
    """The embeddings with states [B, H] as thought `number` of the rows that have one, position by position."""
    rows = [[embeddings[row, column] for column in range(embeddings.shape[1])] for row in range(len(embeddings))]
    for row, thoughts in enumerate(padded.thoughts):
        if number < thoughts:
            rows[row][padded.first + number] = states[row]
    return torch.stack([torch.stack(row) for row in rows])


def loss(model: PreTrainedModel, padded: Padded) -> Tensor:
    """Mean negative log-likelihood of the targets, through every thought."""
    logits, _ = unrolled(model, padded)
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), padded.labels[:, 1:].flatten(), ignore_index=NO_LABEL)


@torch.no_grad()
def answer(model: PreTrainedModel, layout: Layout, tokens: int) -> list[int]:
    """So many tokens, greedy, for one question: no cache once the thoughts are there."""
    padded = pad([layout], model.device)
    logits, embeddings = unrolled(model, padded)
    written = [int(logits[0, -1].argmax())]
    while len(written) < tokens:
        new = model.get_input_embeddings()(torch.tensor([[written[-1]]], device=model.device))
        embeddings = torch.cat([embeddings, new], dim=1)
        written.append(int(model(inputs_embeds=embeddings, use_cache=False).logits[0, -1].argmax()))
    return written
