"""What a model is about to say after k thoughts: the value of every candidate (section 5 of the paper).

After k thoughts and `<eot>` the model would write the next step. A candidate's *value* is the product of the
probabilities of its tokens there, given the words that open the step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentcot.batch import collate
from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, Latent, Layout, Slot, UserError
from latentcot.data.choices import Choices, choices
from latentcot.generate import batches
from latentcot.think import fork, read, roll, unroll
from latentcot.tokens import encode_texts


@dataclass(frozen=True)
class Value:
    """The value, in [0, 1], of a candidate of the example at `index` after so many thoughts."""

    index: int
    thoughts: int
    name: str
    value: float
    right: bool
    """Whether a right chain can go on with this candidate."""


@torch.inference_mode()
def candidate_values(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: Collection[int], *, batch_size: int = 64
) -> list[Value]:
    """Return every candidate's value after each of the numbers of `thoughts`, in the order of the examples.

    A question and its thoughts are computed once for all numbers of thoughts (once for each number where pauses belong
    to the prompt) and for all candidates, which read on from forks of the cache, `batch_size` at a time. UserError if
    an example has no candidates, or no room for them.
    """
    longest = [checkpoint.layout(example.question, max(thoughts)) for example in examples]
    found: list[Value] = []
    for indices in batches(longest, batch_size, checkpoint.model):
        asked = [examples[index] for index in indices]
        for number, layouts, latent in _latents(checkpoint, asked, thoughts):
            names = [choices(example, number, named=checkpoint.named_steps) for example in asked]
            lines = [_lines(checkpoint, layout, one) for layout, one in zip(layouts, names, strict=True)]
            values = iter(_read(checkpoint, latent, lines, batch_size))
            found += [
                Value(index, number, name, next(values), name in one.right)
                for index, one in zip(indices, names, strict=True)
                for name in one.names
            ]
    return sorted(found, key=lambda value: (value.index, value.thoughts))


def _latents(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: Collection[int]
) -> Iterator[tuple[int, list[Layout], Latent]]:
    """Yield each number of `thoughts` with the examples' layouts and where the model stands after so many thoughts.

    Pauses that are read with the prompt are a part of it, and after the last of them the target may begin without any
    cue: each number of them is a prompt of its own.
    """
    prompts = sorted(thoughts) if checkpoint.frame.slot is Slot.PAUSE else [max(thoughts)]
    for most in prompts:
        layouts = [checkpoint.layout(example.question, most) for example in examples]
        batch = collate(layouts, checkpoint.tokenizer.pad_token_id).to(checkpoint.model.device)
        if checkpoint.frame.slot is Slot.PAUSE:
            yield most, layouts, roll(checkpoint.model, batch)
        else:
            steps = enumerate(unroll(checkpoint.model, batch))
            yield from ((number, layouts, latent) for number, latent in steps if number in thoughts)


@dataclass(frozen=True)
class _Line:
    """A text to read after the thoughts: the layout's target, of which the first `lead` tokens open the step."""

    layout: Layout
    lead: int


def _lines(checkpoint: Checkpoint, asked: Layout, next_up: Choices) -> list[_Line]:
    """A line for each candidate of a question. UserError if one does not fit the model's positions."""
    opening = next_up.opening
    texts = [f"{opening} {name}".strip() for name in next_up.names]
    before, *targets = encode_texts([opening, *texts], checkpoint.tokenizer)
    lines = [_Line(replace(asked, target=target), len(before)) for target in targets]
    longest = max(len(line.layout) for line in lines)
    if checkpoint.positions is not None and longest > checkpoint.positions:
        raise UserError(
            f"a question, its thoughts and a candidate need {longest} positions and the model has "
            f"{checkpoint.positions}: think less, or leave the longest questions out"
        )
    return lines


def _read(checkpoint: Checkpoint, latent: Latent, lines: Sequence[Sequence[_Line]], batch_size: int) -> list[float]:
    """The value of every line of every question; the latent stays as it was."""
    flat = [line for of_one in lines for line in of_one]
    rows = torch.tensor([row for row, of_one in enumerate(lines) for _ in of_one], device=latent.mask.device)
    values: list[float] = []
    for first in range(0, len(flat), batch_size):
        part = flat[first : first + batch_size]
        batch = collate([line.layout for line in part], checkpoint.tokenizer.pad_token_id).to(rows.device)
        forked = fork(latent, rows[first : first + batch_size])
        logits = read(checkpoint.model, forked, batch.rest, batch.rest_mask)
        lead = torch.tensor([max(len(line.layout.cue), 1) - 1 + line.lead for line in part], device=rows.device)
        values += _products(logits, batch.labels, lead).tolist()
    return values


def _products(logits: Tensor, labels: Tensor, lead: Tensor) -> Tensor:
    """The probability of each row's labels from column `lead` on, [B]; `logits` is [B, R, V], `labels` [B, R]."""
    logs = logits.float().log_softmax(dim=-1).gather(2, labels.clamp(min=0)[:, :, None])[:, :, 0]
    counted = (labels >= 0) & (torch.arange(labels.shape[1], device=labels.device) >= lead[:, None])
    return logs.masked_fill(~counted, 0.0).sum(dim=1).exp()
