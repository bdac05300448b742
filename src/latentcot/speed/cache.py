"""A KV cache that grows in place.

The stock one copies all that it holds with every thought, and training keeps each copy until the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from latentcot.speed.exchange import autocast

SPARE = 64
"""Columns for which room is made, at least, once there is none left."""


def growing_cache(config: PretrainedConfig, columns: int) -> DynamicCache:
    """An empty cache with room for so many columns, and more where they turn out to be needed.

    Layers with a sliding window, or another than full attention, stay as they are.
    """
    cache = DynamicCache(config=config)
    cache.layers = [_Layer(columns) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


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
            self.room = _Room(held, new, columns)
        add = _append if torch.is_grad_enabled() else _Room.add
        self.keys, self.values = add(self.room, *held, *new)
        return self.keys, self.values


class _Room:
    """Memory [B, H, columns, D] for keys and for values, of which the first `filled` columns are taken."""

    def __init__(self, held: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], columns: int) -> None:
        self.filled = held[0].shape[2]
        self.memory = [states.new_empty(*states.shape[:2], columns, states.shape[3]) for states in new]
        for memory, states in zip(self.memory, held, strict=True):
            memory[:, :, : self.filled] = states.detach()

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

    def add(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        """All columns, of keys and of values held and then new ones.

        Through `data`, since autograd counts a write as a change of all that shares the memory: columns that were
        written before do not change.
        """
        first, self.filled = self.filled, self.filled + states[2].shape[2]
        grown = []
        for memory, new in zip(self.memory, states[2:], strict=True):
            columns = memory.data.narrow(2, 0, self.filled)
            columns.narrow(2, first, self.filled - first).copy_(new)
            grown.append(columns)
        return grown[0], grown[1]


def _append(room: _Room, *states: Tensor) -> tuple[Tensor, Tensor]:
    grown: tuple[Tensor, Tensor] = _Append.apply(room, *states)  # type: ignore[no-untyped-call]
    return grown


class _Append(torch.autograd.Function):
    """`_Room.add`, as autograd needs it."""

    @staticmethod
    def forward(ctx: Any, room: _Room, *states: Tensor) -> tuple[Tensor, Tensor]:
        """All columns of keys and of values."""
        ctx.columns = room.filled
        return room.add(*states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        """To the columns held and to the new ones, each its part."""
        return None, *(to[:, :, : ctx.columns] for to in above), *(to[:, :, ctx.columns :] for to in above)
