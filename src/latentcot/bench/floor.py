"""What updates and answers must compute and move at the least, counted from the shape of the model and the batch.

A multiplication and an addition are two operations. A pass over C columns of B rows, with A columns in the cache before
them and logits at G of them, multiplies, going forward,

    layers      2 B C W                                W: weights of the products of all layers together
    attention   4 B D (C A + C (C + 1) / 2) a layer    D: heads times head size; a column sees itself and those before
    head        2 B G U                                U: weights of the head, hidden size times vocabulary

and twice that going backward: a product's gradient goes to both of its factors. Norms, activations and the softmax are
left out. So are the experts of mixtures; a sliding window is counted as if it did not end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentcot.ranges import Count, CountOrZero, require_ranges

BACKWARD = 2
"""Operations of a backward pass for each one of its forward pass."""


@dataclass(frozen=True)
class Shape:
    """A decoder as its products see it."""

    layers: int
    weights: int
    """Of the products of all layers together: every column meets each of them once."""
    head: int
    """Weights of the output head."""
    width: int
    """Hidden size."""
    attention: int
    """Heads times head size, of the queries."""
    cache: int
    """Heads times head size, of the keys (and of the values) of one layer."""
    left_out: int = 0
    """Weights of the last layer's products that the thought loop leaves out at columns that nobody reads."""


@dataclass(frozen=True)
class Sizes:
    """What is fed to a model: rows without padding, of prompt, thoughts, a cue and all of the target but its last."""

    batch: Count
    prompt: Count
    thoughts: CountOrZero
    target: Count

    def __post_init__(self) -> None:
        require_ranges(Sizes, vars(self), "--")

    @property
    def columns(self) -> int:
        """Positions of a row."""
        return self.prompt + self.thoughts + self.target


@dataclass(frozen=True)
class Pass:
    """One forward pass: `columns` new ones, `before` in the cache, logits at `logits` of the new ones."""

    columns: int
    before: int = 0
    logits: int = 0

    @property
    def pairs(self) -> int:
        """How often a column looks at one: at itself, at those before it in the pass and at those in the cache."""
        return self.columns * self.before + self.columns * (self.columns + 1) // 2


@dataclass(frozen=True)
class Operations:
    """Operations of forward passes, by where they are spent."""

    layers: int
    attention: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.layers + self.attention + self.head


@dataclass(frozen=True)
class Bytes:
    """What passes must fetch from memory or put there: activations stay near the processor at best, so none of them."""

    weights: int
    gradients: int
    """Of the weights, read and written again by each pass, since each adds to them."""
    cache: int
    """Keys and values; backward also their gradients."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.cache


@dataclass(frozen=True)
class Speed:
    """What a machine was measured to do."""

    operations: float
    """A second, in large matrix products."""
    bytes: float
    """A second, read or written, in copying a large block."""


def coconut_passes(sizes: Sizes) -> list[Pass]:
    """Of one update: prompt, thoughts one by one, then cue and target; in one pass where there are no thoughts."""
    prompt, thoughts, target = sizes.prompt, sizes.thoughts, sizes.target
    if not thoughts:
        return [Pass(prompt + target, logits=target)]
    chain = [Pass(1, prompt + number) for number in range(thoughts)]
    return [Pass(prompt), *chain, Pass(target, prompt + thoughts, target)]


def ordinary_passes(sizes: Sizes) -> list[Pass]:
    """Of one supervised update of the same tokens: everything at once, logits everywhere."""
    return [Pass(sizes.columns, logits=sizes.columns)]


def answer_passes(prompt: int, thoughts: int, tokens: int) -> list[Pass]:
    """Of an answer of so many tokens; after thoughts a cue is read first."""
    if not thoughts:
        return [Pass(prompt, logits=1), *(Pass(1, prompt + number, 1) for number in range(tokens - 1))]
    chain = [Pass(1, prompt + number) for number in range(thoughts)]
    written = [Pass(1, prompt + thoughts + number, 1) for number in range(tokens)]
    return [Pass(prompt), *chain, *written]


def operations(shape: Shape, batch: int, passes: Sequence[Pass]) -> Operations:
    """Operations of the passes, forward; `BACKWARD` times as many follow in an update."""
    return Operations(
        layers=2 * batch * shape.weights * sum(one.columns for one in passes),
        attention=4 * batch * shape.attention * shape.layers * sum(one.pairs for one in passes),
        head=2 * batch * shape.head * sum(one.logits for one in passes),
    )


def unread(shape: Shape, sizes: Sizes) -> Operations:
    """Of `coconut_passes`, forward: what the last layer computes at prompt columns and nobody reads.

    Of a prompt's columns only the last one's state is fed, and of the others only keys and values are looked at. The
    last thought's state is not fed either, which makes it as many columns as the prompt has.
    """
    if not sizes.thoughts:
        return Operations(0, 0, 0)
    per_column = shape.weights // shape.layers - 2 * shape.width * shape.cache
    pairs = Pass(sizes.prompt - 1).pairs + sizes.columns - sizes.target
    return Operations(
        layers=2 * sizes.batch * per_column * sizes.prompt, attention=4 * sizes.batch * shape.attention * pairs, head=0
    )


def operations_made(shape: Shape, sizes: Sizes) -> int:
    """Operations of `coconut_passes`, forward, as the thought loop makes them: the floor's but those left out."""
    skipped = 2 * sizes.batch * shape.left_out * (sizes.prompt - 1)
    return operations(shape, sizes.batch, coconut_passes(sizes)).total - skipped


def forward_bytes(shape: Shape, batch: int, passes: Sequence[Pass], size: int) -> Bytes:
    """Each pass reads the weights once, reads the cache and writes its own columns there; `size` bytes a number."""
    reads = sum(shape.weights + (shape.head if one.logits else 0) for one in passes)
    columns = sum(one.before + one.columns for one in passes)
    return Bytes(size * reads, 0, size * batch * 2 * shape.layers * shape.cache * columns)


def backward_bytes(shape: Shape, batch: int, passes: Sequence[Pass], size: int) -> Bytes:
    """Each pass reads the weights once more and adds to their gradients; it reads keys and values, adds to theirs."""
    forward = forward_bytes(shape, batch, passes, size)
    return Bytes(forward.weights, 2 * forward.weights, 3 * forward.cache)


def answer_seconds(shape: Shape, batch: int, passes: Sequence[Pass], size: int, speed: Speed) -> float:
    """The least time that the passes take, forward: each is bound by its operations or by its bytes."""
    return sum(
        max(
            operations(shape, batch, [one]).total / speed.operations,
            forward_bytes(shape, batch, [one], size).total / speed.bytes,
        )
        for one in passes
    )


def update_seconds(shape: Shape, batch: int, passes: Sequence[Pass], size: int, speed: Speed) -> float:
    """The least time that the passes take, forward and backward."""
    return answer_seconds(shape, batch, passes, size, speed) + sum(
        max(
            BACKWARD * operations(shape, batch, [one]).total / speed.operations,
            backward_bytes(shape, batch, [one], size).total / speed.bytes,
        )
        for one in passes
    )
