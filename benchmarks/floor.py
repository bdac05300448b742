"""The floor of an update as the table in README.md: operations and bytes of each of its passes, for GPT-2's shape.

python -m benchmarks.floor
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.parts import command
from latentcot.bench.floor import (
    BACKWARD,
    Pass,
    Shape,
    Sizes,
    backward_bytes,
    coconut_passes,
    forward_bytes,
    operations,
    ordinary_passes,
    unread,
)
from latentcot.bench.models import VOCABULARY
from latentcot.ranges import Count, require_ranges

FP32 = 4
"""Bytes of a number."""


def gpt2(layers: int, width: int, vocabulary: int) -> Shape:
    """A layer of GPT-2 has products of 3, 1, 4 and 4 times width x width: into attention, out of it, and two more."""
    feed_forward = 8 * width**2
    return Shape(layers, 12 * layers * width**2, width * vocabulary, width, width, width, left_out=feed_forward)


def floor(
    batch: int = 8, prompt: int = 384, thoughts: Count = 6, target: int = 12, layers: int = 12, width: int = 768
) -> None:
    """Print the floor of an update.

    Args:
        batch: Questions in it.
        prompt: Tokens of each.
        thoughts: Thoughts after it.
        target: Tokens of an answer.
        layers: Of the model.
        width: Its hidden size.
    """
    require_ranges(floor, {"thoughts": thoughts}, "--")
    print("\n".join(lines(gpt2(layers, width, VOCABULARY), Sizes(batch, prompt, thoughts, target))))


def lines(shape: Shape, sizes: Sizes) -> list[str]:
    """The table, in units of 10^9 operations and 10^6 bytes (fp32)."""
    first, *chain, last = passes = coconut_passes(sizes)
    unseen = unread(shape, sizes).total
    return [
        "| | columns | layers, forward | attention, forward | head, forward | forward | backward "
        "| forward: weights, cache | backward: weights, gradients, cache |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        _row("prompt pass", shape, sizes, [first]),
        _row(f"{len(chain)} thought passes", shape, sizes, chain),
        _row("rest pass", shape, sizes, [last]),
        _row("**Coconut update**", shape, sizes, passes),
        _row("ordinary update", shape, sizes, ordinary_passes(sizes)),
        f"| of Coconut's, nobody reads | {sizes.prompt} in the last layer | | | | {_giga(unseen)} "
        f"| {_giga(BACKWARD * unseen)} | | |",
    ]


def _row(name: str, shape: Shape, sizes: Sizes, passes: Sequence[Pass]) -> str:
    forward = operations(shape, sizes.batch, passes)
    there, back = forward_bytes(shape, sizes.batch, passes, FP32), backward_bytes(shape, sizes.batch, passes, FP32)
    cells = [
        name,
        str(sum(one.columns for one in passes)),
        *(_giga(count) for count in (forward.layers, forward.attention, forward.head, forward.total)),
        _giga(BACKWARD * forward.total),
        ", ".join(_mega(count) for count in (there.weights, there.cache)),
        ", ".join(_mega(count) for count in (back.weights, back.gradients, back.cache)),
    ]
    return "| " + " | ".join(cells) + " |"


def _giga(count: float) -> str:
    return f"{count / 1e9:,.1f}"


def _mega(count: float) -> str:
    return f"{count / 1e6:,.0f}"


if __name__ == "__main__":
    command(floor)
