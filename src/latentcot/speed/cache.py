"""A KV cache that grows in place, and whose columns get the gradients of all thoughts at once.

The stock one copies all that it holds with every thought, and training keeps each copy until the backward pass, in
which each thought writes, and adds to the others', a gradient as large as all that it holds.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, LinearAttentionAndFullAttentionLayer, LinearAttentionLayer

from latentcot.speed.exchange import autocast
from latentcot.speed.waiting import Waiting

SPARE = 64
"""Columns for which room is made, at least, once there is none left."""


@dataclass(frozen=True)
class Grown:
    """What attention may know of keys or of values [B, H, K, D] that lie in a cache and need a gradient."""

    memory: Tensor
    """The memory in which they are the first columns, [B, H, columns, D]: products over all of it need no copy. Behind
    them are the columns that later passes added, or zeros."""
    gradients: Waiting
    """For pairs of weights [B, H, Q, columns] and states [B, H, Q, D], of which weights.mT @ states is added to the
    gradient of the columns: instead of such a product in every pass, which passes `None` for them then."""


def grown(*states: Tensor) -> list[Grown]:
    """Of keys and of values that lie in a growing cache; nothing if some do not."""
    found: list[Any] = [vars(one).get("grown") for one in states]
    return [] if None in found else found


@functools.cache
def cache_argument(function: Callable[..., Any]) -> str:
    """Return the name of the function's argument for a KV cache, which transformers renamed within version 5."""
    return "cache" if "cache" in inspect.signature(function).parameters else "past_key_values"


def growing_cache(config: PretrainedConfig, columns: int) -> DynamicCache:
    """An empty cache with room for so many columns, and more where they turn out to be needed.

    Layers with a state keep the states of earlier passes, for going backward. Others, as those with a sliding window,
    stay as they are.
    """
    cache = DynamicCache(config=config)
    kinds = {LinearAttentionLayer: _StateLayer, LinearAttentionAndFullAttentionLayer: _StateAndKeysLayer}
    cache.layers = [
        _Layer(columns) if type(layer) is DynamicLayer else kinds.get(type(layer), _same)(layer)
        for layer in cache.layers
    ]
    return cache


def fork_cache(cache: DynamicCache, rows: Tensor) -> DynamicCache:
    """A copy of the cache with the given rows, each as often as it is named, that grows apart from the original."""
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in forked.layers:
        if isinstance(layer, _NewStates):
            layer.renew()
    forked.reorder_cache(rows)
    return forked


def _same(layer: Any) -> Any:
    return layer


class _NewStates:
    """Mixin of a stock layer with convolution or recurrent states, which that overwrites in place in every pass.

    Autograd needs those of earlier passes, so they are written into copies.
    """

    def __init__(self, stock: Any) -> None:
        vars(self).update(vars(stock))

    def renew(self) -> None:
        """Put copies in the place of the states."""
        for name in ("conv_states", "recurrent_states"):
            states = vars(self)[name]  # A tensor, or several by their number: transformers changed this in version 5.
            several = {number: _copied(one) for number, one in states.items()} if isinstance(states, dict) else None
            vars(self)[name] = several or _copied(states)

    def update_conv_state(self, *args: Any, **options: Any) -> Any:
        self.renew()
        return super().update_conv_state(*args, **options)  # type: ignore[misc]

    def update_recurrent_state(self, *args: Any, **options: Any) -> Any:
        self.renew()
        return super().update_recurrent_state(*args, **options)  # type: ignore[misc]


def _copied(states: Tensor | None) -> Tensor | None:
    return None if states is None else states.clone()


class _StateLayer(_NewStates, LinearAttentionLayer):  # type: ignore[misc]
    pass


class _StateAndKeysLayer(_NewStates, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    pass


class _Layer(DynamicLayer):  # type: ignore[misc]
    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.room: _Room | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of all columns, the new ones behind the others."""
        # As attention will read them, which would cast all columns in every pass, and keep each result.
        new = autocast(key_states), autocast(value_states)
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self.keys, self.values = (states[:, :, :0] for states in new)
        held = self.keys, self.values
        if self.room is None or not self.room.fits(held, new):
            columns = held[0].shape[2] + new[0].shape[2]
            columns = self.columns if columns <= self.columns else columns + max(SPARE, columns // 4)
            self.room = _Room(new, columns)
            if held[0].shape[2]:
                held = self.room.grow(*(states[:, :, :0] for states in held), *held)
        self.keys, self.values = self.room.grow(*held, *new)
        return self.keys, self.values


class _Room:
    """Memory [B, H, columns, D] for keys and for values, of which the first `filled` columns are taken."""

    def __init__(self, new: tuple[Tensor, Tensor], columns: int) -> None:
        self.filled = 0
        # Zeros and not just anything, or what a product makes of a column that it does not count could be NaN.
        self.memory = [states.new_zeros(*states.shape[:2], columns, states.shape[3]).detach() for states in new]
        self.gradients = Waiting(), Waiting()

    def fits(self, held: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> bool:
        """Whether the new columns can stand behind those held: these lie here, nothing is behind them, there is room.

        Else the layer was copied, and its copy went on, or rows were chosen, or columns cut off.
        """
        columns = held[0].shape[2]
        return (
            columns == self.filled
            and columns + new[0].shape[2] <= self.memory[0].shape[2]
            and all(
                states.data_ptr() == memory.data_ptr() and len(states) == len(memory) and memory.dtype == more.dtype
                for states, memory, more in zip(held, self.memory, new, strict=True)
            )
        )

    def grow(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        """All columns, of keys and of values held and then new ones."""
        if not torch.is_grad_enabled():
            return self.write(*states)
        filled: tuple[Tensor, Tensor] = _Append.apply(self, *states)  # type: ignore[no-untyped-call]
        for columns, memory, gradients in zip(filled, self.memory, self.gradients, strict=True):
            vars(columns)["grown"] = Grown(memory, gradients)
        return filled

    def write(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        """`grow`, without a gradient.

        Through `data`, since autograd counts a write as a change of all that shares the memory: columns that were
        written before do not change.
        """
        first, self.filled = self.filled, self.filled + states[2].shape[2]
        filled = []
        for memory, new in zip(self.memory, states[2:], strict=True):
            columns = memory.data.narrow(2, 0, self.filled)
            columns.narrow(2, first, self.filled - first).copy_(new)
            filled.append(columns)
        return filled[0], filled[1]


class _Append(torch.autograd.Function):
    """`_Room.write`, as autograd needs it."""

    @staticmethod
    def forward(ctx: Any, room: _Room, *states: Tensor) -> tuple[Tensor, Tensor]:
        """All columns of keys and of values."""
        ctx.gradients, ctx.first = room.gradients, room.filled
        filled = room.write(*states)
        ctx.end = room.filled
        ctx.set_materialize_grads(False)
        return filled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor | None) -> tuple[Tensor | None, ...]:
        """To the columns held and to the new ones, each its part; to the new ones also what was left for later."""
        held, new = [], []
        for to, gradients in zip(above, ctx.gradients, strict=True):
            pairs = gradients.left()
            if not ctx.first:  # All other columns have had theirs.
                gradients.forget()
            part = None if to is None else to[:, :, ctx.first :]
            if pairs:
                weights = torch.cat([weights[..., ctx.first : ctx.end] for weights, _ in pairs], dim=2)
                late = weights.mT @ torch.cat([states for _, states in pairs], dim=2)
                part = late if part is None else part + late
            held.append(None if to is None else to[:, :, : ctx.first])
            new.append(part)
        return None, *held, *new
