"""Products of columns and weights: gradients of the weights once an update and not once a pass, and a quicker library.

A thought's pass has one column a row, so that its gradient of a weight, as large as the weight, costs far more to
write, read again and add than its product does. Here the columns of all passes wait for one another.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from latentcot.speed.exchange import autocast, exchanged
from latentcot.speed.waiting import Waiting

LARGE = 2**18
"""Entries of a weight, with fewer of which what is saved is less than what the detour through Python costs."""

ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and platform.machine() in ("x86_64", "AMD64")
"""Whether products in fp32 on a CPU go through oneDNN, as PyTorch's in bf16 do. For fp32 PyTorch takes MKL, which on
AMD's processors is 10% slower where the columns are many, and takes twice as long where they are few."""


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
    gates: dict[Tensor, tuple[Tensor, Waiting]] = {}
    # GPT-2's layers call addmm.
    with exchanged((functional, "linear", partial(_linear, gates)), (torch, "addmm", partial(_addmm, gates))):
        yield


def _linear(gates: Any, stock: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    ours = _ours(input, weight)
    output: Tensor = _through(gates, input, weight, bias, turned=True) if ours else stock(input, weight, bias)
    return output


def _addmm(gates: Any, stock: Any, *inputs: Any, **options: Any) -> Tensor:
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
    if weight not in gates:
        columns = Waiting()
        gates[weight] = _Gate.apply(weight, columns, turned), columns  # type: ignore[no-untyped-call]
    gate, columns = gates[weight]
    bias = None if bias is None else autocast(bias)
    output: Tensor = _Product.apply(autocast(input), gate, bias, columns, turned)  # type: ignore[no-untyped-call]
    return output


def times(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, without a gradient."""
    quick = ONEDNN and input.device.type == "cpu" and input.dtype == weight.dtype == torch.float32
    args = input, weight, bias
    output: Tensor = torch.ops.mkldnn._linear_pointwise(*args, "none", [], "") if quick else functional.linear(*args)
    return output


class _Gate(torch.autograd.Function):
    """What all passes multiply by. Its gradient is due when the last of them, the prompt's, has gone backward."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, columns: Waiting, turned: bool) -> Tensor:
        """The weight as passes use it: under autocast in its dtype, cast once."""
        ctx.columns, ctx.turned, ctx.dtype = columns, turned, weight.dtype
        ctx.set_materialize_grads(False)
        used = autocast(weight)
        return weight.view_as(weight) if used is weight else used

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor, None, None]:
        """The weight's gradient: the prompt's product, and one of the columns of all other passes."""
        *few, (inputs, above) = sorted(ctx.columns.left(), key=lambda pair: len(pair[0]))
        ctx.columns.forget()
        product = above.T @ inputs if ctx.turned else inputs.T @ above
        if few:
            inputs, above = (torch.cat(parts) for parts in zip(*few, strict=True))
            product.addmm_(*((above.T, inputs) if ctx.turned else (inputs.T, above)))
        return product.to(ctx.dtype), None, None


class _Product(torch.autograd.Function):
    """`input` [..., I] times a weight, [I, O] or `turned` [O, I]."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, columns: Waiting, turned: bool) -> Tensor:
        """The product, with the bias added."""
        ctx.save_for_backward(input, weight)
        ctx.columns, ctx.turned = columns, turned
        return times(input, weight if turned else weight.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        """The input's and the bias's gradient; the weight's is left to the gate."""
        input, weight = ctx.saved_tensors
        flat = above.flatten(0, -2)
        ctx.columns.leave(input.flatten(0, -2), flat)
        to_input = times(above, weight.T if ctx.turned else weight) if ctx.needs_input_grad[0] else None
        return to_input, None, flat.sum(0) if ctx.needs_input_grad[2] else None, None, None
