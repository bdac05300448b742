"""Functions of PyTorch that others stand in for, for the time of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock, get_ident
from typing import Any

import torch
from torch import Tensor, nn

_lock = RLock()
"""Held by the thread whose functions stand in: a second one would put back what the first has put there."""


@contextmanager
def exchanged(*exchanges: tuple[Any, str, Callable[..., Any]]) -> Iterator[None]:
    """Within it, the function of that module and name is another, which is given the stock one before its arguments.

    For this thread alone: others get the stock function, and wait here before they exchange any themselves.
    A TorchFunctionMode would do the same, but would be asked at every access to a tensor's shape as well.
    """
    with _lock:
        stock = [getattr(module, name) for module, name, _ in exchanges]
        for (module, name, function), own in zip(exchanges, stock, strict=True):
            setattr(module, name, _of_this_thread(function, own))
        try:
            yield
        finally:
            for (module, name, _), own in zip(exchanges, stock, strict=True):
                setattr(module, name, own)


def _of_this_thread(function: Callable[..., Any], stock: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is `function` in the calling thread and `stock` in every other."""
    thread = get_ident()

    def call(*args: Any, **options: Any) -> Any:
        return function(stock, *args, **options) if get_ident() == thread else stock(*args, **options)

    return call


def autocast(states: Tensor) -> Tensor:
    """In the dtype in which products are computed: where autocast is on its own, else that of the states."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def trains_on_cpu(model: nn.Module) -> bool:
    """Whether a pass of the model now is one of training, on a CPU."""
    return model.training and next(model.parameters()).device.type == "cpu"
