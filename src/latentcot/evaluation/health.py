"""Whether thoughts are in good health: how large they are, and whether they are still different from each other.

Both go wrong in practice: fed-back states may be far larger than the token embeddings that the first layer expects, and
with many thoughts the states become alike, so that more thoughts add nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.checkpoint import Checkpoint
from latentcot.core import Slot
from latentcot.generate import thoughts_of

NORM_RATIOS = (0.05, 100.0)
"""Thoughts outside of this many times the size of token embeddings are warned about."""

ALIKE = 0.95
"""Thoughts of a question with a mean cosine above this are warned about."""

FLAT = 1.1
"""Several thoughts with an effective rank below this are warned about."""


def norm_ratio(thoughts: Tensor, embeddings: Tensor) -> float:
    """Mean norm of thoughts [..., H] over the mean norm of token embeddings [V, H]."""
    return float(thoughts.norm(dim=-1).mean() / embeddings.norm(dim=-1).mean())


@torch.inference_mode()
def token_embeddings(model: PreTrainedModel) -> Tensor:
    """What the first layer is fed for each token, [V, H] on the CPU; some models scale the stored weight for it."""
    layer = model.get_input_embeddings()
    embeddings: Tensor = layer(torch.arange(layer.num_embeddings, device=model.device))
    return embeddings.cpu()


def cosines(thoughts: Tensor) -> Tensor:
    """Cosine similarity between the thoughts [..., K, H] of a question, [..., K, K]."""
    unit: Tensor = functional.normalize(thoughts, dim=-1)
    return unit @ unit.mT


def mean_cosine(thoughts: Tensor) -> float:
    """Mean cosine similarity over the pairs of different thoughts of a question; `thoughts` is [..., K, H], K > 1."""
    count = thoughts.shape[-2]
    pairs = ~torch.eye(count, dtype=torch.bool, device=thoughts.device)
    return float(cosines(thoughts)[..., pairs].mean())


def effective_rank(thoughts: Tensor) -> Tensor:
    """Number of directions that the thoughts [..., K, H] of a question spread over, [...], from 1 to K.

    The exponential of the entropy of the singular values, taken as shares (Roy and Vetterli 2007). Thoughts that are
    all zero have rank 1, and those with a value that is not finite have rank NaN.
    """
    finite = thoughts.isfinite().all(dim=(-2, -1))
    values = torch.linalg.svdvals(torch.where(finite[..., None, None], thoughts, 0).float())
    shares = values / values.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    return torch.where(finite, torch.special.entr(shares).sum(dim=-1).exp(), torch.nan)


def thought_health(checkpoint: Checkpoint, thoughts: Tensor) -> dict[str, float]:
    """The size of thoughts [n, K, H] and, where a question has several, their mean cosine and effective rank.

    {} where there are no thoughts. Values are NaN where thoughts are not finite.
    """
    if not thoughts.numel():
        return {}
    measured = {"thought_norm_ratio": norm_ratio(thoughts, token_embeddings(checkpoint.model))}
    if thoughts.shape[1] > 1:
        measured["thought_cosine"] = mean_cosine(thoughts)
        measured["thought_rank"] = float(effective_rank(thoughts).mean())
    return measured


def check_up(checkpoint: Checkpoint, questions: Sequence[str]) -> dict[str, float]:
    """`thought_health` on a few questions; {} for a checkpoint that has no continuous thoughts (yet)."""
    if checkpoint.frame.slot is not Slot.STATE or not checkpoint.thoughts:
        return {}
    return thought_health(checkpoint, thoughts_of(checkpoint, questions))


def warnings(measured: Mapping[str, float]) -> list[str]:
    """What is wrong with the thoughts, in words; [] if all is well. `measured` comes from `thought_health`."""
    if not all(map(math.isfinite, measured.values())):
        return [
            "thoughts are not finite numbers: start again with a lower train.lr, train.clip 1 or train.precision fp32"
        ]
    found = []
    low, high = NORM_RATIOS
    ratio = measured.get("thought_norm_ratio")
    if ratio is not None and not low <= ratio <= high:
        found.append(
            f"thoughts are {ratio:.3g} times as large as token embeddings (sound: {low:g} to {high:g}): "
            "train with a lower learning rate, or start with smaller thoughts (model.thought_size)"
        )
    cosine = measured.get("thought_cosine", 0.0)
    if cosine > ALIKE:
        found.append(
            f"the thoughts of a question have become alike (mean cosine {cosine:.3f}, sound: up to {ALIKE}): "
            "more of them add nothing, use fewer or stay longer in each stage"
        )
    elif (rank := measured.get("thought_rank", FLAT)) < FLAT:
        found.append(
            f"the thoughts of a question span one direction (effective rank {rank:.2f}, sound: {FLAT} or more): "
            "more of them add nothing, use fewer or stay longer in each stage"
        )
    return found
