"""What models of Llama's shape need on several GPUs, reckoned: the tables of docs/scale.md.

python -m benchmarks.scale

Parameters, saved activations and the bytes that FSDP2 moves are tested against small real models; seconds are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FP32, BF16 = 4, 2
"""Bytes of a number."""

GB = 1e9
MEMORY = 72 * GB
"""Of an H100's 80 GB, what is left to plan with."""
PEAK, SHARE = 989e12, 0.4
"""Operations a second of an H100 in bf16 without sparsity, and the share that passes over many columns shall reach."""
HBM, HBM_SHARE = 3.35e12, 0.7
"""Bytes a second of an H100's memory, and the share that passes over few columns shall reach."""
NODE, NVLINK, NETWORK = 8, 400e9, 50e9
"""GPUs in a machine, and bytes a second that each sends within it and out of it."""

Kind = Literal["one process", "DDP", "FSDP2", "FSDP2, resharded"]


@dataclass(frozen=True)
class Shape:
    """A model of Llama's shape, without biases."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """Width inside the MLP."""
    vocabulary: int
    tied: bool

    @property
    def layer(self) -> int:
        """Parameters of a layer: queries and output, keys and values, the MLP's three products, two norms."""
        attention = 2 * self.width * self.head_size * (self.heads + self.kv_heads)
        return attention + 3 * self.width * self.inner + 2 * self.width

    @property
    def embedding(self) -> int:
        """Parameters of the token embeddings."""
        return self.vocabulary * self.width

    @property
    def tail(self) -> int:
        """Parameters that FSDP2 gathers with the last norm: the head's, which may be the embeddings'."""
        return self.width + self.embedding

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.layer + self.tail + (0 if self.tied else self.embedding)


LLAMA_1B = Shape(16, 2048, 32, 8, 64, 8192, 128256, tied=True)
LLAMA_8B = Shape(32, 4096, 32, 8, 128, 14336, 128256, tied=False)
MODELS = {"1B": LLAMA_1B, "8B": LLAMA_8B}


@dataclass(frozen=True)
class Row:
    """Columns of a row: its prompt, its thoughts, and its rest (cue and target without its last token)."""

    prompt: int
    thoughts: int = 6
    rest: int = 12

    @property
    def columns(self) -> int:
        """All of them."""
        return self.prompt + self.thoughts + self.rest

    @property
    def looked_back(self) -> int:
        """Columns that the thoughts attend to, summed over them."""
        return sum(self.prompt + thought + 1 for thought in range(self.thoughts))

    @property
    def masks(self) -> int:
        """Entries of the attention masks of all passes."""
        return self.prompt**2 + self.looked_back + self.rest * self.columns


def saved_layers(shape: Shape, row: Row, autocast: bool) -> int:
    """Bytes that autograd saves for a row in the layers, keys and values aside.

    A column saves for each norm its input in fp32, the normed state and a factor; each norm's result in bf16, once for
    the two groups of products that read it, or under autocast for each of the five; queries, the attention's output and
    its normaliser; and four states inside the MLP. Under autocast the normed state is fp32 too.
    """
    norms = 2 * ((FP32 + (FP32 if autocast else BF16)) * shape.width + FP32)
    results = (5 if autocast else 2) * BF16 * shape.width
    attention = 2 * BF16 * shape.heads * shape.head_size + FP32 * shape.heads
    inside = 4 * BF16 * shape.inner
    # The last layer's MLP is computed at the last column of the prompt alone.
    return shape.layers * row.columns * (norms + results + attention + inside) - (row.prompt - 1) * inside


def saved_cache(shape: Shape, row: Row) -> int:
    """Bytes of keys and values that autograd saves for a row: the cache, in which all passes share what they read.

    Passes over several columns repeat them for every head that shares them, which a thought's pass does not.
    """
    repeated = shape.heads * (row.prompt + row.columns) if shape.heads > shape.kv_heads else 0
    return shape.layers * 2 * BF16 * shape.head_size * (shape.kv_heads * row.columns + repeated)


def saved_ends(shape: Shape, row: Row, autocast: bool) -> int:
    """Bytes for the last norm at all columns, the head and the loss at the rest, for masks and rotary positions."""
    exact = FP32 if autocast else BF16
    norm = row.columns * ((FP32 + exact) * shape.width + FP32 + 2 * exact * shape.head_size)
    return norm + row.rest * (BF16 * shape.width + FP32 * shape.vocabulary) + BF16 * row.masks


def saved(shape: Shape, row: Row, autocast: bool) -> int:
    """Bytes that autograd saves for a row between forward and backward, with bf16 weights or under autocast."""
    return saved_layers(shape, row, autocast) + saved_cache(shape, row) + saved_ends(shape, row, autocast)


def passing(shape: Shape, row: Row) -> int:
    """Bytes that a row's logits and their gradient take for a moment: twice bf16, twice fp32."""
    return row.rest * shape.vocabulary * 2 * (BF16 + FP32)


def gathered(shape: Shape, thoughts: int, reshard: bool, size: int = BF16) -> int:
    """Bytes of weights that FSDP2 gathers for one micro-batch with thoughts, in numbers of `size` bytes.

    All once; with fsdp_reshard_after_forward a layer's in each of the n + 2 passes and once more in its backward, and
    the last norm's and the head's, which stay during forward, n + 1 times more in backward, n if embeddings are tied.
    """
    if not reshard:
        return size * shape.parameters
    tail = (thoughts + 1) * shape.tail if shape.tied else (thoughts + 2) * shape.tail + shape.embedding
    return size * (2 * (thoughts + 2) * shape.layers * shape.layer + tail)


def reduced(shape: Shape, size: int = BF16) -> int:
    """Bytes of gradients that FSDP2 reduces for one micro-batch: autograd sums those of all passes first."""
    return size * shape.parameters


def states(shape: Shape, kind: Kind, gpus: int) -> float:
    """Bytes a GPU of fp32 weights, their gradients and AdamW's two moments."""
    return 4 * FP32 * shape.parameters / (gpus if kind.startswith("FSDP2") else 1)


def working(shape: Shape, kind: Kind) -> float:
    """Bytes a GPU of the bf16 weights that passes use, and of gradients until all passes are summed.

    DDP has its gradients in buckets too.
    """
    layers = 2 if kind == "FSDP2, resharded" else shape.layers
    weights = shape.parameters - (shape.layers - layers) * shape.layer
    return BF16 * (weights + shape.parameters) + (FP32 * shape.parameters if kind == "DDP" else 0)


def memory(shape: Shape, kind: Kind, gpus: int, row: Row, micro: int) -> float:
    """Bytes that a GPU needs for micro-batches of `micro` rows."""
    autocast = not kind.startswith("FSDP2")
    rows = micro * (saved(shape, row, autocast) + passing(shape, row))
    return states(shape, kind, gpus) + working(shape, kind) + rows


def micro_batch(shape: Shape, kind: Kind, gpus: int, row: Row, batch: int) -> int:
    """Most rows at once, out of a GPU's share of `batch`, that fit; 0 if none does."""
    share = batch // gpus
    fitting = [
        rows for rows in range(1, share + 1) if share % rows == 0 and memory(shape, kind, gpus, row, rows) <= MEMORY
    ]
    return max(fitting, default=0)


def sent(shape: Shape, kind: Kind, thoughts: int, micro_batches: int = 1) -> int:
    """Bytes that an update gathers and reduces; DDP's all-reduce is both."""
    if kind == "one process":
        return 0
    if kind == "DDP":
        return 2 * FP32 * shape.parameters
    gatherings = 1 if kind == "FSDP2" else micro_batches
    return gatherings * gathered(shape, thoughts, kind != "FSDP2") + micro_batches * reduced(shape)


def traffic_seconds(size: float, gpus: int) -> float:
    """Seconds to gather or reduce `size` bytes in a ring: all but a GPU's own part passes it, over the slowest link."""
    return size * (gpus - 1) / gpus / (NVLINK if gpus <= NODE else NETWORK)


def arithmetic_seconds(shape: Shape, columns: int) -> float:
    """Seconds of 6 operations for each parameter and column (Kaplan et al. 2020)."""
    return 6 * shape.parameters * columns / (PEAK * SHARE)


def pass_seconds(shape: Shape, columns: int) -> float:
    """Seconds of a pass over so many columns of all rows together, there and back: of its arithmetic or its memory.

    Every pass reads the weights forward and backward, writes its gradients, and adds them to those so far.
    """
    return max(arithmetic_seconds(shape, columns), 6 * BF16 * shape.parameters / (HBM * HBM_SHARE))


def passes_seconds(shape: Shape, row: Row, micro: int) -> float:
    """Seconds of the n + 2 passes of a micro-batch."""
    prompt, thought, rest = (pass_seconds(shape, micro * columns) for columns in (row.prompt, 1, row.rest))
    return prompt + row.thoughts * thought + rest


PLANS: tuple[tuple[str, int, Kind], ...] = (
    ("1B", 1, "one process"),
    ("1B", 8, "DDP"),
    ("1B", 8, "FSDP2"),
    ("1B", 64, "DDP"),
    ("1B", 64, "FSDP2"),
    ("8B", 1, "one process"),
    ("8B", 8, "FSDP2"),
    ("8B", 8, "FSDP2, resharded"),
    ("8B", 64, "FSDP2"),
    ("8B", 64, "FSDP2, resharded"),
)
ROWS = (Row(60), Row(400))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])


def memory_table() -> str:
    """What weights, gradients and optimizer take on a GPU, whatever the batch."""
    heads = ["model", "parameters", "GPUs", "", "fp32 weights, gradients, AdamW", "bf16 weights, gradients", "together"]
    rows = []
    for name, gpus, kind in PLANS:
        shape = MODELS[name]
        kept, used = states(shape, kind, gpus), working(shape, kind)
        figures = [f"{value / GB:.1f}" for value in (kept, used, kept + used)]
        rows.append([name, f"{shape.parameters:,}", str(gpus), kind, *figures])
    return table(heads, rows)


def activation_table() -> str:
    """What a row saves for the backward pass."""
    heads = ["model", "prompt", "", "layers", "keys and values", "norm, head, loss", "together", "logits, for a moment"]
    rows = []
    for name, shape in MODELS.items():
        for row in ROWS:
            for kind, autocast in (("bf16 weights (FSDP2)", False), ("autocast (one process, DDP)", True)):
                parts = [saved_layers(shape, row, autocast), saved_cache(shape, row), saved_ends(shape, row, autocast)]
                figures = [*parts, sum(parts), passing(shape, row)]
                rows.append([name, str(row.prompt), kind, *(f"{figure / 1e6:,.0f}" for figure in figures)])
    return table(heads, rows)


def traffic_table(thoughts: int = 6) -> str:
    """What an update of one micro-batch sends, and for how long if nothing is overlapped."""
    heads = ["model", "", "gathered", "reduced", "seconds on 8 GPUs", "on 64"]
    rows = []
    for name, shape in MODELS.items():
        for kind in ("DDP", "FSDP2", "FSDP2, resharded"):
            whole = sent(shape, kind, thoughts)
            back = 2 * FP32 * shape.parameters if kind == "DDP" else reduced(shape)
            seconds = [f"{traffic_seconds(whole, gpus):.2f}" for gpus in (8, 64)]
            rows.append([name, kind, f"{(whole - back) / GB:.1f}", f"{back / GB:.1f}", *seconds])
    return table(heads, rows)


def update_table(batch: int = 128) -> str:
    """What an update of `batch` rows takes, if nothing is overlapped."""
    heads = ["model", "prompt", "GPUs", "", "rows at once", "memory", "arithmetic", "passes", "traffic", "update"]
    rows = []
    for name, gpus, kind in PLANS:
        shape, share = MODELS[name], batch // gpus
        for row in ROWS:
            micro, cells = micro_batch(shape, kind, gpus, row, batch), [name, str(row.prompt), str(gpus), kind]
            if not micro:
                rows.append([*cells, "none", f"{memory(shape, kind, gpus, row, 1) / GB:.0f}", *["-"] * 4])
                continue
            passes = share // micro * passes_seconds(shape, row, micro)
            traffic = traffic_seconds(sent(shape, kind, row.thoughts, share // micro), gpus)
            seconds = (arithmetic_seconds(shape, share * row.columns), passes, traffic, passes + traffic)
            needed = memory(shape, kind, gpus, row, micro) / GB
            rows.append([*cells, f"{micro} of {share}", f"{needed:.0f}", *(f"{value:.2f}" for value in seconds)])
    return table(heads, rows)


def main() -> None:
    """Print the tables."""
    print("\n\n".join([memory_table(), activation_table(), traffic_table(), update_table()]))


if __name__ == "__main__":
    main()
