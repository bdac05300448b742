"""Attention masks of which no row is empty.

A padded column is a query that may see no key at all. What an attention kernel returns for such a row is undefined, and
some return NaN in the backward pass, which spoils every gradient. Here every query sees itself at least. A real query
does so anyway, and nobody reads what a padded one computes, so no result changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.masking_utils import create_masks_for_generate


def create_masks(network: PreTrainedModel, mask: Tensor, columns: int, cache: Cache | None, positions: Tensor) -> Any:
    """Return the `attention_mask` for a pass over the last `columns` columns of `mask` [B, K], True at real columns.

    It is what the model itself would build of `mask`, for each kind of its layers, with the diagonal visible: one mask
    [B, 1, columns, keys], or a mapping from kinds of layers to masks; None where a kernel needs none.
    `positions` are [B, columns]. NotImplementedError if the model takes no masks but its own.
    """
    # Of what is embedded only shape and dtype are looked at.
    embedded = torch.empty((len(mask), columns, 0), dtype=network.dtype, device=mask.device)
    build = getattr(network, "create_masks_for_generate", create_masks_for_generate)
    given = mask.long()
    # By position: the names of the arguments differ between versions of transformers.
    masks = build(network.config, embedded, given, cache, positions)
    if masks is given:
        raise NotImplementedError(f"{network.config.model_type} builds its attention masks from padding masks alone")
    for one in masks.values() if isinstance(masks, dict) else [masks]:
        _show_diagonal(one)
    return masks


def _show_diagonal(mask: Any) -> None:
    """Make each query's own column visible, in place. What is no mask [B, 1, Q, K] stays as it is."""
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return
    if mask.stride(0) == 0 and len(mask) > 1:  # One causal mask for all rows: nothing is padded.
        return
    own = mask.diagonal(mask.shape[-1] - mask.shape[-2], dim1=-2, dim2=-1)
    own.fill_(True if mask.dtype == torch.bool else 0.0)
