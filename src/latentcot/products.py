"""Weights' gradients, computed once an update and not once a pass.

A thought's pass has one column a row, so that its gradient of a weight, as large as the weight, costs far more to
write, read again and add than its product does. Here the columns of all passes wait for one another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

LARGE = 2**18
"""Entries of a weight, with fewer of which what is saved is less than what the detour through Python costs."""


@contextmanager
def joint_gradients(model: nn.Module) -> Iterator[None]:
    """Within it, large weights that `torch.nn.functional.linear` and `torch.addmm` multiply by get their gradient from
    all calls at once, for a model that trains.

    Under FSDP2 nothing changes: it frees the weights of a pass after it.
    """
    sharded = any(isinstance(module, FSDPModule) for module in model.modules())
    if not model.training or not torch.is_grad_enabled() or sharded:
        yield
        return
    stock = functional.linear, torch.addmm
    gates: dict[Tensor, tuple[Tensor, list[Any]]] = {}
    functional.linear = partial(_linear, stock[0], gates)
    torch.addmm = partial(_addmm, stock[1], gates)  # GPT-2's layers call it.
    try:
        yield
    finally:
        functional.linear, torch.addmm = stock


def _linear(stock: Any, gates: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    ours = _ours(input, weight)
    output: Tensor = _through(gates, input, weight, bias, turned=True) if ours else stock(input, weight, bias)
    return output


def _addmm(stock: Any, gates: Any, *inputs: Any, **options: Any) -> Tensor:
    output: Tensor
    if not options and len(inputs) == 3 and _ours(*inputs[1:]):
        bias, input, weight = inputs
        output = _through(gates, input, weight, bias, turned=False)
    else:
        output = stock(*inputs, **options)
    return output


def _ours(input: Tensor, weight: Tensor) -> bool:
    trained = isinstance(weight, nn.Parameter) and weight.requires_grad
    return trained and weight.numel() >= LARGE and input.is_floating_point() and input.ndim > 1


def _through(gates: Any, input: Tensor, weight: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    kind = input.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    if weight not in gates:
        columns: list[Any] = []
        gate = _Gate.apply(weight, columns, turned, dtype)  # type: ignore[no-untyped-call]
        gates[weight] = gate, columns
    gate, columns = gates[weight]
    bias = None if bias is None else bias.to(dtype)
    args = input.to(dtype), gate, bias, columns, turned
    output: Tensor = _Product.apply(*args)  # type: ignore[no-untyped-call]
    return output


class _Gate(torch.autograd.Function):
    """What all passes multiply by. Its gradient is due when the last of them, the prompt's, has gone backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, columns: list[Any], turned: bool, dtype: torch.dtype) -> Tensor:
        """The weight as passes use it: under autocast in its dtype, cast once."""
        ctx.columns, ctx.turned, ctx.dtype = columns, turned, weight.dtype
        ctx.set_materialize_grads(False)
        return weight.to(dtype) if dtype != weight.dtype else weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor, None, None, None]:
        """The weight's gradient: the prompt's product, and one of the columns of all other passes."""
        now = torch._C._current_graph_task_id()
        passes = sorted((entry[1:] for entry in ctx.columns if entry[0] == now), key=lambda pair: len(pair[0]))
        ctx.columns.clear()
        *few, (inputs, above) = passes
        product = above.T @ inputs if ctx.turned else inputs.T @ above
        if few:
            inputs, above = (torch.cat(parts) for parts in zip(*few, strict=True))
            product.addmm_(*((above.T, inputs) if ctx.turned else (inputs.T, above)))
        return product.to(ctx.dtype), None, None, None


class _Product(torch.autograd.Function):
    """`input` [..., I] times a weight, [I, O] or `turned` [O, I]."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, columns: list[Any], turned: bool
    ) -> Tensor:
        """The product, with the bias added."""
        ctx.save_for_backward(input, weight)
        ctx.columns, ctx.turned = columns, turned
        output = input @ (weight.T if turned else weight)
        return output if bias is None else output.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        """The input's and the bias's gradient; the weight's is left to the gate."""
        input, weight = ctx.saved_tensors
        # One backward pass may stop before the weights, so the next must not find what it left.
        flat = above.flatten(0, -2)
        ctx.columns.append((torch._C._current_graph_task_id(), input.flatten(0, -2), flat))
        to_input = above @ (weight if ctx.turned else weight.T) if ctx.needs_input_grad[0] else None
        return to_input, None, flat.sum(0) if ctx.needs_input_grad[2] else None, None, None
