"""Dropout on a CPU, where PyTorch draws a number for each element, one after another: here 64 bits decide over four."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy import int16
from numpy.random import SFC64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from latentcot.speed.exchange import exchanged, trains_on_cpu

LEVELS = 2**16
"""Probabilities are multiples of 1 / LEVELS: an element's fate hangs on 16 random bits."""
FEW = 2**14
"""Elements, fewer than which PyTorch's own is done sooner."""


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Within it, `torch.nn.functional.dropout` is that of this module, for a model that trains on a CPU."""
    if not trains_on_cpu(model):
        yield
        return
    with exchanged((functional, "dropout", _dropout)):
        yield


def _dropout(stock: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    ours = training and not inplace and partly(p) and input.numel() >= FEW
    output: Tensor = _Dropout.apply(input, p) if ours else stock(input, p, training, inplace)  # type: ignore[no-untyped-call]
    return output


def seed() -> list[int]:
    """Numbers of PyTorch's generator: a seed of it repeats, and a checkpoint resumes, all that is drawn from them."""
    numbers: list[int] = torch.empty(2, dtype=torch.int64).random_().tolist()
    return numbers


def draw(shape: tuple[int, ...], seed: list[int]) -> Tensor:
    """16 random bits for each element."""
    count = math.prod(shape)
    # PyTorch's own numbers take twice as long.
    numbers = SFC64(seed).random_raw((count + 3) // 4)
    return torch.from_numpy(numbers.view(int16))[:count].view(shape)


def kept(bits: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """1 where an element is kept and 0 where it is dropped, which is with probability `p`, rounded to 1 / LEVELS.

    As numbers, since filling under a mask of truth values takes ten times as long as a product.
    """
    return torch.ge(bits, _threshold(p), out=torch.empty(bits.shape, dtype=dtype))


def dropped(shape: tuple[int, ...], p: float, seed: list[int]) -> Tensor:
    """1 where an element is dropped and 0 where it is kept, as numbers of 16 bits."""
    return torch.lt(draw(shape, seed), _threshold(p), out=torch.empty(shape, dtype=torch.int16))


def partly(p: float) -> bool:
    """Whether some elements are dropped and some are not."""
    return 0 < round(p * LEVELS) < LEVELS


def scale_of(p: float) -> float:
    """What makes up for the elements that are dropped."""
    return 1 / (1 - round(p * LEVELS) / LEVELS)


def _threshold(p: float) -> int:
    return round(p * LEVELS) - LEVELS // 2


class _Dropout(torch.autograd.Function):
    """Keeps the random bits, two bytes an element, where PyTorch keeps a factor of four."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, p: float) -> Tensor:
        """The input with elements dropped and the others scaled up."""
        ctx.p, bits = p, draw(input.shape, seed())
        ctx.save_for_backward(bits)
        return kept(bits, p, input.dtype).mul_(input).mul_(scale_of(p))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        """The same of the gradient, under the same mask."""
        (bits,) = ctx.saved_tensors
        return kept(bits, ctx.p, above.dtype).mul_(above).mul_(scale_of(ctx.p)), None
