"""What verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Verbs = dict[tuple[str, ...], tuple[Callable[..., None], dict[str, dict[str, Any]]]]
"""Verbs, their functions, and those of their parameters that are positional or switches."""
