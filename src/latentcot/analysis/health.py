"""The health of thoughts, one by one: size, likeness, what they decode to, and the gradient that reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentcot.batch import collate
from latentcot.checkpoint import Checkpoint
from latentcot.core import Batch, Example
from latentcot.evaluation.health import cosines, norm_ratio, thought_health, token_embeddings
from latentcot.generate import batches, thinking_layouts, thoughts_of
from latentcot.think import batch_plan, target_loss, think
from latentcot.tokens import encode_examples

VANISHED = 1e-3
"""A thought whose gradient is below this share of the largest is warned about."""


@dataclass(frozen=True)
class ThoughtHealth:
    """One thought, as means over the questions."""

    thought: int
    """From 1."""
    norm_ratio: float
    """Its norm over that of token embeddings."""
    cosines: Sequence[float]
    """Cosine similarity to each thought of the same question."""
    between: float
    """Cosine similarity to the same thought of other questions."""
    entropy: float
    """Of the distribution that the LM head gives it, in nats."""
    gradient: float
    """Norm of the gradient of an answer's loss with respect to it."""


def health(
    checkpoint: Checkpoint, examples: Sequence[Example], *, thoughts: int | None = None, batch_size: int = 64
) -> tuple[list[ThoughtHealth], dict[str, float]]:
    """Every thought, and the figures over all of them that `evaluation.health.warnings` judges.

    UserError if the checkpoint has no continuous thoughts.
    """
    questions = [example.question for example in examples]
    states = thoughts_of(checkpoint, questions, thoughts=thoughts, batch_size=batch_size)
    gradients = _gradient_norms(checkpoint, examples, thoughts, batch_size).mean(dim=0)
    embeddings = token_embeddings(checkpoint.model)
    alike = cosines(states).mean(dim=0)
    found = [
        ThoughtHealth(
            column + 1,
            norm_ratio(states[:, column], embeddings),
            alike[column].tolist(),
            _between(states[:, column]),
            _entropy(checkpoint, states[:, column]),
            float(gradients[column]),
        )
        for column in range(states.shape[1])
    ]
    return found, thought_health(checkpoint, states)


def gradient_warnings(found: Sequence[ThoughtHealth]) -> list[str]:
    """What is wrong with the gradients, in words; [] if all is well."""
    largest = max(one.gradient for one in found)
    return [
        f"hardly any gradient reaches thought {one.thought} ({one.gradient:.2g}, the largest is {largest:.2g}; sound: "
        f"{VANISHED:g} of it or more): it is not learning, use fewer thoughts or stay longer in each stage"
        for one in found
        if one.gradient < VANISHED * largest
    ]


def _between(states: Tensor) -> float:
    """Mean cosine similarity over the pairs of different rows of [n, H]; 0 for a single row."""
    n, total = len(states), functional.normalize(states, dim=-1).sum(dim=0).square().sum()
    return float((total - n) / max(n * (n - 1), 1))


@torch.inference_mode()
def _entropy(checkpoint: Checkpoint, states: Tensor) -> float:
    head, device = checkpoint.model.get_output_embeddings(), checkpoint.model.device
    parts = [head(part.to(device)).float().softmax(dim=-1) for part in torch.split(states, 64)]
    return float(torch.cat([torch.special.entr(part).sum(dim=-1) for part in parts]).mean())


def _gradient_norms(
    checkpoint: Checkpoint, examples: Sequence[Example], thoughts: int | None, batch_size: int
) -> Tensor:
    """Norm of each question's gradient at each thought, [n, K], of the summed loss of its answer's tokens."""
    layouts = thinking_layouts(checkpoint, [example.question for example in examples], thoughts)
    samples = encode_examples(examples, checkpoint.tokenizer)
    layouts = [replace(layout, target=sample.answer) for layout, sample in zip(layouts, samples, strict=True)]
    norms: dict[int, Tensor] = {}
    for indices in batches(layouts, batch_size, checkpoint.model):
        batch = collate([layouts[index] for index in indices], checkpoint.tokenizer.pad_token_id)
        norms |= zip(indices, thought_gradients(checkpoint.model, batch.to(checkpoint.model.device)), strict=True)
    return torch.stack([norms[index] for index in range(len(layouts))])


def thought_gradients(model: nn.Module, batch: Batch) -> Tensor:
    """Norm of the gradient of the batch's summed loss with respect to each thought that is fed, [B, K]."""
    batch_plan(model)  # Found here if it has to be, since that takes passes that are none of the batch's.
    fed: list[Tensor] = []

    def keep(_module: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        if "inputs_embeds" in inputs:
            fed.append(inputs["inputs_embeds"])

    hook = model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        loss = target_loss(think(model, batch).logits, batch.labels)
    finally:
        hook.remove()
    return torch.cat([gradient.norm(dim=-1) for gradient in torch.autograd.grad(loss, fed)], dim=1).cpu()
