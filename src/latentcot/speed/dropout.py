"""Dropout on a CPU, where PyTorch draws masks one number after another and has no fused attention with dropout.

Here a random number of 64 bits decides over four elements, and attention goes piece by piece, each small enough to stay
near the processor, over those keys alone that the piece may see. What is computed is the same, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy import int16
from numpy.random import SFC64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from latentcot.speed.exchange import autocast, exchanged

LEVELS = 2**16
"""Probabilities are multiples of 1 / LEVELS: an element's fate hangs on 16 random bits."""
QUERIES = 128
"""Columns whose attention is computed together."""
WEIGHTS = 2**20
"""Attention weights that are computed together: 4 MiB."""
TURNED = 16
"""Columns, up to which products of queries and keys are computed the other way about."""
FEW = 2**14
"""Elements, fewer than which PyTorch's own is done sooner."""


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Within it, `dropout` and `scaled_dot_product_attention` of `torch.nn.functional` are those of this module, for a
    model that trains on a CPU: whatever its class, as long as it calls these two."""
    if not model.training or next(model.parameters()).device.type != "cpu":
        yield
        return
    attention = partial(_attention, {})
    with exchanged((functional, "dropout", _dropout), (functional, "scaled_dot_product_attention", attention)):
        yield


def _dropout(stock: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    ours = training and not inplace and _partly(p) and input.numel() >= FEW
    output: Tensor = _Dropout.apply(input, p) if ours else stock(input, p, training, inplace)  # type: ignore[no-untyped-call]
    return output


def _attention(
    plans: Any,
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
    query, key, value = autocast(query), autocast(key), autocast(value)
    scale = scale or query.shape[-1] ** -0.5
    plan = _plan(plans, query, key, attn_mask, is_causal)
    output = _Attention.apply(query, key, value, plan, dropout_p, scale)  # type: ignore[no-untyped-call]
    return output


def draw(shape: tuple[int, ...]) -> Tensor:
    """16 random bits for each element, seeded by PyTorch's generator: a seed repeats and a checkpoint resumes them."""
    count = math.prod(shape)
    # PyTorch's own numbers take twice as long, so they are the seed alone.
    numbers = SFC64(torch.empty(2, dtype=torch.int64).random_().tolist()).random_raw((count + 3) // 4)
    return torch.from_numpy(numbers.view(int16))[:count].view(shape)


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


@dataclass(frozen=True)
class _Piece:
    """Rows, their queries, and the keys that any of these may see."""

    rows: slice
    queries: slice
    keys: slice
    hidden: slice
    """Of the keys, those that some query may not see."""
    shift: Tensor
    """Added to the scores of these, [rows, 1 or H, queries, hidden], in the dtype of scores."""


def _plan(plans: Any, query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> list[_Piece]:
    """The pieces of an attention, which are the same for all layers of a pass: they share the mask."""
    name = id(mask), causal, query.shape[:3], key.shape[2], query.dtype
    if name not in plans:
        queries, keys = query.shape[2], key.shape[2]
        if mask is None:
            full = torch.ones(queries, keys, dtype=torch.bool)
            full = full.tril() if causal else full
        else:
            full = mask
        full = full[(None,) * (4 - full.ndim)].expand(len(query), -1, queries, keys)
        # The mask is held, so that no other one gets its name.
        plans[name] = mask, list(_pieces(full, query.shape[1], _exact(query.dtype)))
    plan: list[_Piece] = plans[name][1]
    return plan


def _pieces(mask: Tensor, heads: int, dtype: torch.dtype) -> Iterator[_Piece]:
    """Pieces of at most `WEIGHTS` weights, if a row's are."""
    least = torch.finfo(dtype).min
    for first in range(0, mask.shape[2], QUERIES):
        those = slice(first, min(first + QUERIES, mask.shape[2]))
        block = mask[:, :, those]
        if block.dtype == torch.bool:
            block = torch.zeros(block.shape, dtype=dtype).masked_fill_(~block, least)
        block = block.to(dtype).clamp(min=least)
        seen = _span((block > least).flatten(0, 2).any(0))
        seen = seen if seen.stop else slice(0, 1)
        hidden = _span((block[..., seen] != 0).flatten(0, 2).any(0))
        shift = block[..., seen][..., hidden].contiguous()
        count = max(1, WEIGHTS // (heads * (those.stop - first) * (seen.stop - seen.start)))
        for row in range(0, len(mask), count):
            rows = slice(row, min(row + count, len(mask)))
            yield _Piece(rows, those, seen, hidden, shift[rows])


def _span(columns: Tensor) -> slice:
    """From the first that is true to the last, or nothing."""
    true = columns.nonzero()
    return slice(int(true[0]), int(true[-1]) + 1) if len(true) else slice(0, 0)


class _Attention(torch.autograd.Function):
    """Weights are computed again going backward (as in FlashAttention, Dao et al. 2022), from the same random bits."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: list[_Piece], p: float, scale: float
    ) -> Tensor:
        """The attention's output, [B, H, Q, E], laid out as [B, Q, H, E], which is what layers go on with."""
        query = query.contiguous()
        batch, heads, queries, _ = query.shape
        output = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)
        ctx.p, ctx.scale, ctx.plan, bits = p, scale, plan, []
        for piece in plan:
            weights = _weights(query, key, piece, scale)
            bits.append(draw(weights.shape))
            weights.mul_(kept(bits[-1], p, weights.dtype))
            seen = value[piece.rows, :, piece.keys]
            output[piece.rows, :, piece.queries] = _times(weights.to(value.dtype), seen, _scale(p))
        ctx.save_for_backward(query, key, value, *bits)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and values, summed over the pieces."""
        query, key, value, *bits = ctx.saved_tensors
        above = above.contiguous() * _scale(ctx.p)
        if len(ctx.plan) == 1 and ctx.plan[0].keys == slice(0, key.shape[2]):
            whole = _gradients(query, key, value, above, ctx.plan[0], bits[0], ctx.p, ctx.scale)
            return *whole, None, None, None
        to_query, to_key, to_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for piece, drawn in zip(ctx.plan, bits, strict=True):
            parts = _gradients(query, key, value, above, piece, drawn, ctx.p, ctx.scale)
            to_query[piece.rows, :, piece.queries] = parts[0]
            to_key[piece.rows, :, piece.keys] += parts[1]
            to_value[piece.rows, :, piece.keys] += parts[2]
        return to_query, to_key, to_value, None, None, None


def _gradients(
    query: Tensor, key: Tensor, value: Tensor, above: Tensor, piece: _Piece, drawn: Tensor, p: float, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What a piece adds to the gradients of its queries, and of the keys and values that it sees."""
    weights = _weights(query, key, piece, scale)
    query, above = (states[piece.rows, :, piece.queries] for states in (query, above))
    key, value = (states[piece.rows, :, piece.keys] for states in (key, value))
    keep = kept(drawn, p, weights.dtype)
    to_weights = _each_with_each(above, value, 1).mul_(keep)
    to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype).to(query.dtype)
    to_value = _times(weights.mul_(keep).to(value.dtype).mT, above, 1)
    return _times(to_scores, key, scale), _times(to_scores.mT, query, scale), to_value


def _weights(query: Tensor, key: Tensor, piece: _Piece, scale: float) -> Tensor:
    """Attention weights [B, H, Q, K] of a piece in fp32 at least; those of a query that sees no key mean nothing."""
    scores = _each_with_each(query[piece.rows, :, piece.queries], key[piece.rows, :, piece.keys], scale)
    scores[..., piece.hidden] += piece.shift
    return scores.softmax(dim=-1)


def _each_with_each(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Scaled products [B, H, Q, K] of rows [B, H, Q, D] and [B, H, K, D], in fp32 at least.

    With few queries the other way about, or the keys are copied first.
    """
    few = queries.shape[2] <= TURNED
    products = _times(keys, queries.mT, scale).mT if few else _times(queries, keys.mT, scale)
    return products.to(_exact(products.dtype)).contiguous()


def _times(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Scaled products of matrices [B, H, I, J] and [B, H, J, K], scaled before they are rounded."""
    products = left.new_empty(len(left) * left.shape[1], left.shape[2], right.shape[3])
    products.baddbmm_(left.flatten(0, 1), right.flatten(0, 1), beta=0, alpha=scale)
    return products.view(*left.shape[:2], *products.shape[1:])


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What scores of states of this dtype are computed in."""
    return torch.promote_types(dtype, torch.float32)
