"""What is left, going backward, for later: for what has to wait until all passes of an update have left theirs."""

from __future__ import annotations

import torch
from torch import Tensor


class Waiting:
    """Pairs of tensors that some nodes of a graph leave, going backward, and that a node behind all of them uses."""

    def __init__(self) -> None:
        self._left: list[tuple[int, Tensor, Tensor]] = []

    def leave(self, one: Tensor, other: Tensor) -> None:
        """In a node's backward pass, for a node that it passes `None` to."""
        self._left.append((_backward_pass(), one, other))

    def left(self) -> list[tuple[Tensor, Tensor]]:
        """What was left in this backward pass: another one may have stopped before it came here."""
        now = _backward_pass()
        return [(one, other) for when, one, other in self._left if when == now]

    def forget(self) -> None:
        """All that was left."""
        self._left.clear()


def _backward_pass() -> int:
    """A number that no two calls of `backward` share."""
    number: int = torch._C._current_graph_task_id()
    return number
