"""Attention while training on a CPU, where PyTorch's has no dropout, or takes all weights of a layer at once.

Here it goes piece by piece, each small enough to stay near the processor, over those keys alone that the piece may see.
What is computed is the same, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from latentcot.speed import dropout
from latentcot.speed.cache import Grown, grown
from latentcot.speed.exchange import autocast, exchanged, trains_on_cpu

QUERIES = 128
"""Columns whose attention is computed together."""
WEIGHTS = 2**20
"""Attention weights that are computed together."""
FEW_WEIGHTS = 2**14
"""Weights, fewer than which PyTorch's own is done sooner."""
FEW_PLAIN = 2**19
"""The same for many queries without dropout in fp32, which is what PyTorch's is best at."""
FEW_QUERIES = 16
"""Columns, up to which a pass over a cache leaves the gradients of its keys and values for later."""
KEPT = 1024
"""Keys, up to which weights are kept for going backward: with more they would be most of what a layer keeps, and are
computed again (as in FlashAttention, Dao et al. 2022)."""
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By their bytes."""


@contextmanager
def quick_attention(model: nn.Module) -> Iterator[None]:
    """Within it, `torch.nn.functional.scaled_dot_product_attention` is that of this module, for a model that trains on
    a CPU: whatever its class, as long as it calls this function."""
    if not trains_on_cpu(model):
        yield
        return
    with exchanged((functional, "scaled_dot_product_attention", partial(_attention, {}))):
        yield


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
    output: Tensor
    if enable_gqa and query.shape[2] == 1 and not is_causal:
        # The heads of a column that share a key head are queries of this one.
        heads = key.shape[1]
        packed, mask = _packed(query, heads), None if attn_mask is None else _packed(attn_mask, heads)
        output = _attention(plans, stock, packed, key, value, mask, dropout_p, scale=scale)
        return output.reshape(*query.shape[:3], -1)
    late = [] if enable_gqa or query.shape[2] > FEW_QUERIES else grown(key, value)
    if not _quicker(query, key, attn_mask, dropout_p, bool(late)):
        output = stock(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        return output
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    query, key, value = autocast(query), autocast(key), autocast(value)
    columns = late[0].memory.shape[2] if late else key.shape[2]
    name = id(attn_mask), is_causal, query.shape[:3], key.shape[2], columns, query.dtype
    if name not in plans:
        full = functional.pad(_mask(query, key, attn_mask, is_causal), (0, columns - key.shape[2]), value=_least(query))
        plan = _shift(full, query.shape[1]) if late else list(_pieces(full, query.shape[1]))
        # The same for all layers of a pass: they share the mask, which is held, so that no other one gets its name.
        plans[name] = attn_mask, plan
    args = plans[name][1], dropout_p, scale or query.shape[-1] ** -0.5
    output = _FewQueries.apply(query, key, value, late, *args) if late else _ManyQueries.apply(query, key, value, *args)  # type: ignore[no-untyped-call]
    return output


def _quicker(query: Tensor, key: Tensor, mask: Tensor | None, p: float, late: bool) -> bool:
    """Whether this module can do it, and sooner than PyTorch."""
    plain = not late and not p and autocast(query).dtype == torch.float32
    many = math.prod(query.shape[:-1]) * key.shape[-2] >= (FEW_PLAIN if plain else FEW_WEIGHTS)
    learned = mask is not None and mask.requires_grad
    return many and not learned and query.ndim == 4 and (p == 0 or dropout.partly(p))


def _packed(states: Tensor, heads: int) -> Tensor:
    """[B, H, 1, D] as [B, heads, H / heads, D]; what has no heads stays."""
    if states.ndim < 4 or states.shape[1] == 1:
        return states
    return states.reshape(len(states), heads, -1, states.shape[-1])


def _mask(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """What is added to scores, [B, 1 or H, Q, K] in the dtype of queries, `_least` where a key is hidden."""
    least = _least(query)
    queries, keys = query.shape[2], key.shape[2]
    if mask is None:
        mask = torch.ones(queries, keys, dtype=torch.bool)
        mask = mask.tril() if causal else mask
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, least)
    mask = mask.to(query.dtype).clamp(min=least)
    return mask[(None,) * (4 - mask.ndim)].expand(len(query), -1, queries, keys)


def _least(states: Tensor) -> float:
    """Half of the least number in their dtype, so that no score brings it to infinity."""
    return float(torch.finfo(states.dtype).min) / 2


@dataclass(frozen=True)
class _Piece:
    """Rows, their queries, and the keys that any of these may see."""

    rows: slice
    queries: slice
    keys: slice
    shift: Tensor | None
    """Added to the scores, [1 or rows x H, queries, keys] in their dtype; None where every query sees every key."""


def _pieces(mask: Tensor, heads: int) -> Iterator[_Piece]:
    """Pieces of at most `WEIGHTS` weights, if a row's are."""
    least = _least(mask)
    for first in range(0, mask.shape[2], QUERIES):
        those = slice(first, min(first + QUERIES, mask.shape[2]))
        block = mask[:, :, those]
        seen = (block > least).flatten(0, 2).any(0).nonzero()
        keys = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 1)
        block = block[..., keys]
        count = max(1, WEIGHTS // (heads * math.prod(block.shape[2:])))
        for row in range(0, len(mask), count):
            rows = slice(row, min(row + count, len(mask)))
            yield _Piece(rows, those, keys, _shift(block[rows], heads))


def _shift(mask: Tensor, heads: int) -> Tensor | None:
    """What is added to scores under a mask [B, 1 or H, Q, K], as [1 or B x H, Q, K]; None where nothing is."""
    if not mask.any():
        return None
    if torch.equal(mask, mask[:1, :1].expand_as(mask)):
        return mask[0, :1].contiguous()
    return mask.expand(-1, heads, -1, -1).flatten(0, 1)


class _ManyQueries(torch.autograd.Function):
    """`scaled_dot_product_attention`, by the pieces of a plan."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: list[_Piece], p: float, scale: float
    ) -> Tensor:
        """The attention's output, [B, H, Q, E], laid out as [B, Q, H, E], which is what layers go on with."""
        query = query.contiguous()
        batch, heads, queries, _ = query.shape
        output = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)
        seeds = [dropout.seed() if dropout.partly(p) else None for _ in plan]
        kept = []
        for piece, seed in zip(plan, seeds, strict=True):
            asked, seen, told = _of_piece(piece, query, key, value)
            weights = _weights(asked, seen, piece.shift, p, scale, seed)
            output[piece.rows, :, piece.queries] = _times(weights.relu(), told, dropout.scale_of(p))
            if key.shape[2] <= KEPT:
                kept.append(weights)
        ctx.p, ctx.scale, ctx.plan, ctx.seeds = p, scale, plan, seeds
        ctx.save_for_backward(query, key, value, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and values, summed over the pieces."""
        query, key, value, *kept = ctx.saved_tensors
        above = above.contiguous()
        to_query, to_key, to_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for number, (piece, seed) in enumerate(zip(ctx.plan, ctx.seeds, strict=True)):
            asked, seen, told = _of_piece(piece, query, key, value)
            weights = kept[number] if kept else _weights(asked, seen, piece.shift, ctx.p, ctx.scale, seed)
            asking = above[piece.rows, :, piece.queries]
            to_scores = _to_scores(asking, told, weights, ctx.p)
            to_query[piece.rows, :, piece.queries] = _times(to_scores, seen, ctx.scale)
            to_key[piece.rows, :, piece.keys] += _times(to_scores.mT, asked, ctx.scale)
            to_value[piece.rows, :, piece.keys] += _times(weights.relu().mT, asking, dropout.scale_of(ctx.p))
        return to_query, to_key, to_value, None, None, None


class _FewQueries(torch.autograd.Function):
    """The same for a thought, or a few columns, over a cache: in one piece, over all of the cache's memory."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        grown: list[Grown],
        shift: Tensor | None,
        p: float,
        scale: float,
    ) -> Tensor:
        """The attention's output, [B, H, Q, E]."""
        seed = dropout.seed() if dropout.partly(p) else None
        weights = _weights(query, grown[0].memory, shift, p, scale, seed)
        ctx.p, ctx.scale, ctx.grown = p, scale, grown
        ctx.save_for_backward(query, weights)
        return _times(weights.relu(), grown[1].memory, dropout.scale_of(p))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of queries; those of keys and values are left for later."""
        query, weights = ctx.saved_tensors
        keys, values = ctx.grown
        to_scores = _to_scores(above, values.memory, weights, ctx.p)
        keys.gradients.leave(to_scores, query * ctx.scale)
        values.gradients.leave(weights.relu(), above * dropout.scale_of(ctx.p))
        return _times(to_scores, keys.memory, ctx.scale), *(None,) * 6


def _of_piece(piece: _Piece, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A piece's queries, keys and values."""
    queries = query[piece.rows, :, piece.queries]
    return queries, key[piece.rows, :, piece.keys], value[piece.rows, :, piece.keys]


def _weights(
    query: Tensor, key: Tensor, shift: Tensor | None, p: float, scale: float, seed: list[int] | None
) -> Tensor:
    """Attention weights [B, H, Q, K], those that are dropped with their sign turned: what is left of them is their
    `relu`, and no mask has to be kept. Those of a query that sees no key mean nothing."""
    weights = _times(query, key.mT, scale, shift).softmax(dim=-1)
    if seed is not None:
        integer, sign = INTEGERS[weights.itemsize], 8 * weights.itemsize - 1
        weights.view(integer).bitwise_or_(dropout.dropped(weights.shape, p, seed).to(integer) << sign)
    return weights


def _to_scores(above: Tensor, value: Tensor, weights: Tensor, p: float) -> Tensor:
    """Gradients of the scores [B, H, Q, K], before they are scaled."""
    to_weights = _times(above, value.mT, dropout.scale_of(p))
    to_weights = torch.ops.aten.threshold_backward(to_weights, weights, 0)  # What `relu` does to a gradient.
    return torch._softmax_backward_data(to_weights, weights.abs(), -1, weights.dtype)


def _times(left: Tensor, right: Tensor, scale: float, shift: Tensor | None = None) -> Tensor:
    """Scaled products of matrices [B, H, I, J] and [B, H, J, K], scaled and shifted before they are rounded."""
    factors = left.flatten(0, 1), right.flatten(0, 1)
    if shift is None:
        products = left.new_empty(len(factors[0]), left.shape[2], right.shape[3])
        products.baddbmm_(*factors, beta=0, alpha=scale)
    else:
        products = torch.baddbmm(shift, *factors, alpha=scale)
    return products.view(*left.shape[:2], *products.shape[1:])
