"""What verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from latentcot.core import UserError

Verbs = dict[tuple[str, ...], tuple[Callable[..., None], dict[str, dict[str, Any]]]]
"""Verbs, their functions, and those of their parameters that are positional or switches."""

TRUST: dict[str, dict[str, Any]] = {
    "--trust_remote_code": {
        "action": "store_true",
        "help": "Run code that comes with the model, which you have read. Only a checkpoint whose base needed it does.",
    }
}
"""The switch of every verb that loads a checkpoint: leave to run code is given anew each time, never stored."""


def positive(**values: int | None) -> None:
    """UserError for a flag that is given as less than 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}: give 1 or more")
