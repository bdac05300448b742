"""Dropout on a CPU, where PyTorch draws masks one number after another and has no fused attention with dropout.

Here a random number of 64 bits decides over four elements, and attention goes piece by piece, each small enough to stay
near the processor, over those keys alone that the piece may see. What is computed is the same, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LEVELS = 2**16
"""Probabilities are multiples of 1 / LEVELS: an element's fate hangs on 16 random bits."""
QUERIES = 128
"""Columns whose attention is computed together."""
WEIGHTS = 2**20
"""Attention weights that are computed together: 4 MiB."""
FEW = 2**14
"""Elements, fewer than which PyTorch's own is done sooner."""


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Within it, `dropout` and `scaled_dot_product_attention` of `torch.nn.functional` are those of this module, for a
    model that trains on a CPU: whatever its class, as long as it calls these two."""
    if not model.training or next(model.parameters()).device.type != "cpu":
        yield
        return
    stock = functional.dropout, functional.scaled_dot_product_attention
    # A TorchFunctionMode would do the same, but would be asked at every access to a tensor's shape as well.
    functional.dropout = partial(_dropout, stock[0])
    functional.scaled_dot_product_attention = partial(_attention, stock[1])
    try:
        yield
    finally:
        functional.dropout, functional.scaled_dot_product_attention = stock


def _dropout(stock: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    ours = training and not inplace and _partly(p) and input.numel() >= FEW
    output: Tensor = _Dropout.apply(input, p) if ours else stock(input, p, training, inplace)  # type: ignore[no-untyped-call]
    return output


def _attention(
    stock: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Queries are [B, H, Q, D], keys [B, H, K, D], values [B, H, K, E]."""
    many = math.prod(query.shape[:-1]) * key.shape[-2] >= FEW
    learned = attn_mask is not None and attn_mask.requires_grad
    output: Tensor
    if not many or learned or query.ndim != 4 or not _partly(dropout_p):
        output = stock(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        return output
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if attn_mask is None:
        attn_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
        attn_mask = attn_mask.tril() if is_causal else attn_mask
    attn_mask = attn_mask[(None,) * (4 - attn_mask.ndim)]
    mask = attn_mask.expand(len(query), -1, query.shape[2], key.shape[2])
    scale = scale or query.shape[-1] ** -0.5
    output = _Attention.apply(query, key, value, mask, dropout_p, scale)  # type: ignore[no-untyped-call]
    return output


def draw(shape: tuple[int, ...]) -> Tensor:
    """16 random bits for each element, from PyTorch's generator: a seed repeats and a checkpoint resumes them."""
    count = math.prod(shape)
    numbers = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[:count].view(shape)


def kept(bits: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """1 where an element is kept and 0 where it is dropped, which is with probability `p`, rounded to 1 / LEVELS.

    As numbers, since filling under a mask of truth values takes ten times as long as a product.
    """
    return torch.ge(bits, round(p * LEVELS) - LEVELS // 2, out=torch.empty(bits.shape, dtype=dtype))


def _partly(p: float) -> bool:
    """Whether some elements are dropped and some are not."""
    return 0 < round(p * LEVELS) < LEVELS


def _scale(p: float) -> float:
    """What makes up for the elements that are dropped."""
    return 1 / (1 - round(p * LEVELS) / LEVELS)


class _Dropout(torch.autograd.Function):
    """Keeps the random bits, two bytes an element, where PyTorch keeps a factor of four."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float) -> Tensor:
        """The input with elements dropped and the others scaled up."""
        ctx.p, bits = p, draw(input.shape)
        ctx.save_for_backward(bits)
        return kept(bits, p, input.dtype).mul_(input).mul_(_scale(p))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        """The same of the gradient, under the same mask."""
        (bits,) = ctx.saved_tensors
        return kept(bits, ctx.p, above.dtype).mul_(above).mul_(_scale(ctx.p)), None


class _Attention(torch.autograd.Function):
    """Weights are computed again going backward (as in FlashAttention, Dao et al. 2022), from the same random bits."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, p: float, scale: float) -> Tensor:
        """The attention's output, [B, H, Q, E], laid out as [B, Q, H, E], which is what layers go on with."""
        query = query.contiguous()
        batch, heads, queries, _ = query.shape
        output = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)
        ctx.p, ctx.scale, ctx.pieces, bits = p, scale, list(_pieces(query, mask)), []
        for rows, those, seen in ctx.pieces:
            weights = _weights(query[rows, :, those], key[rows, :, seen], mask[rows, :, those, seen], scale)
            bits.append(draw(weights.shape))
            weights.mul_(kept(bits[-1], p, weights.dtype))
            output[rows, :, those] = torch.matmul(weights.to(value.dtype), value[rows, :, seen]).mul_(_scale(p))
        ctx.save_for_backward(query, key, value, mask, *bits)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and values, summed over the pieces."""
        query, key, value, mask, *bits = ctx.saved_tensors
        to_query, to_key, to_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        above = above.contiguous() * _scale(ctx.p)
        for (rows, those, seen), drawn in zip(ctx.pieces, bits, strict=True):
            q, k, v, g = query[rows, :, those], key[rows, :, seen], value[rows, :, seen], above[rows, :, those]
            weights = _weights(q, k, mask[rows, :, those, seen], ctx.scale)
            keep = kept(drawn, ctx.p, weights.dtype)
            to_weights = torch.matmul(g, v.mT).to(weights.dtype).mul_(keep)
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype).mul_(ctx.scale).to(q.dtype)
            to_query[rows, :, those] = torch.matmul(to_scores, k)
            to_key[rows, :, seen] += torch.matmul(to_scores.mT, q)
            to_value[rows, :, seen] += torch.matmul(weights.mul_(keep).to(v.dtype).mT, g)
        return to_query, to_key, to_value, None, None, None


def _pieces(query: Tensor, mask: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Rows, queries, and the keys that any of them may see: pieces of at most `WEIGHTS` weights, if a row's are."""
    batch, heads, queries, _ = query.shape
    for first in range(0, queries, QUERIES):
        those = slice(first, min(first + QUERIES, queries))
        open_ = mask[:, :, those] if mask.dtype == torch.bool else mask[:, :, those] > -torch.inf
        columns = open_.flatten(0, 2).any(0).nonzero()
        seen = slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 1)
        rows = max(1, WEIGHTS // (heads * (those.stop - first) * (seen.stop - seen.start)))
        for row in range(0, batch, rows):
            yield slice(row, row + rows), those, seen


def _weights(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention weights [B, H, Q, K] in fp32 at least; those of a query that sees no key mean nothing."""
    scores = torch.matmul(query, key.mT)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(scale)
    least = torch.finfo(scores.dtype).min
    if mask.dtype == torch.bool:
        shift = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, least)
    else:
        shift = mask.to(scores.dtype).clamp(min=least)
    return scores.add_(shift).softmax(dim=-1)
