"""What training measures of every update: losses and gradient norms, looked at once an update, and positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from latentcot.core import UserError


@dataclass(frozen=True)
class Update:
    """Where an update stands in its run."""

    number: int
    """From 1."""
    stage: int
    learning_rate: float


class LossMeter:
    """Sums losses between two log lines, and ends a run whose loss or gradient is not finite.

    Losses stay on the device until `settle`, which the trainer calls while the next update's batches are being made and
    before it logs, validates or saves: so nothing waits for the device inside an update, and nothing that a diverged
    update has changed is ever saved. Sum and count are part of a checkpoint, so that a log line after an interruption
    covers the same updates as without it.
    """

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0
        self._last: Update | None = None
        self._loss: Tensor | None = None
        self._pending: tuple[Update, Tensor] | None = None

    def add(self, loss: Tensor) -> None:
        """Add the loss of a micro-batch to that of its update."""
        self._loss = loss if self._loss is None else self._loss + loss

    def end_update(self, update: Update, model: nn.Module) -> None:
        """Note the loss of an update whose gradients are complete, and their norm."""
        assert self._loss is not None
        norm = _total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
        self._pending = update, torch.stack([self._loss.float(), norm.float()])
        self._loss = None

    def settle(self, accelerator: Accelerator) -> None:
        """Count the last update; UserError, in every process, if its loss or its gradient is not finite."""
        if self._pending is None:
            return
        (update, values), self._pending = self._pending, None
        loss, norm = accelerator.gather(values[None]).mean(dim=0).tolist()
        if not math.isfinite(loss):
            raise _divergence(f"the loss is {loss}", update)
        if not math.isfinite(norm):
            raise _divergence(f"the norm of the gradient is {norm}", update)
        self.total += loss
        self.count += 1
        self._last = update

    def require_finite(self, model: nn.Module) -> None:
        """UserError unless the weights are finite: the last update may have made them something else."""
        norm = float(_total_norm([weight.detach() for weight in model.parameters()]))
        if self._last is not None and not math.isfinite(norm):
            raise _divergence(f"the norm of the weights is {norm}", self._last)

    def take_mean(self) -> float:
        """Return the mean loss of the updates since the last call."""
        mean = self.total / max(self.count, 1)
        self.total, self.count = 0.0, 0
        return mean


def _total_norm(tensors: list[Tensor]) -> Tensor:
    """Return the norm of all tensors as one vector, [], over all processes that hold shares of them."""
    norm = get_total_norm(tensors)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _divergence(fault: str, update: Update) -> UserError:
    return UserError(
        f"training has diverged: {fault} at update {update.number} (stage {update.stage}, learning rate "
        f"{update.learning_rate:.3g}), and nothing was saved since: start again in a new folder with a lower train.lr, "
        "train.clip 1, more train.warmup_steps, or train.precision fp32"
    )


def mean_loss(history: list[dict[str, Any]]) -> float:
    """Return the mean loss over all updates of a log, each of whose lines holds the mean since the line before."""
    total, done = 0.0, 0
    for entry in history:
        if "loss" in entry:
            total, done = total + entry["loss"] * (entry["step"] - done), entry["step"]
    return total / max(done, 1)
