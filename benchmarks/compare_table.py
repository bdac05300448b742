"""What compare.py measured, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from latentcot.bench import timing
from latentcot.bench.floor import BACKWARD, Shape, Sizes, Speed, operations
from latentcot.bench.run import PASSES, share

OURS, MIXED, ORDINARY, PUBLISHED = "latentcot", "latentcot, bf16", "ordinary update", "published algorithm"


def markdown(content: Mapping[str, Any], command: str) -> str:
    """The page on the content of compare.json."""
    setting, parts = content["setting"], content["parts"]
    sizes, answers, scratch = Sizes(**setting["sizes"]), setting["answers"], setting["scratch"]
    peaks = (f"{speed['operations'] / 1e9:,.0f} GFLOP/s in {name}" for name, speed in parts["speed"].items())
    paragraphs = [
        "# Beside the published algorithm",
        f"    {command}",
        f"{scratch['architecture']}, {scratch['layers']} layers, width {scratch['width']}, dropout "
        f"{scratch['dropout']}, random weights; "
        f"{content['device']}, {content['threads']} threads; {content['machine']}; latentcot {content['code']}; "
        f"torch {content['torch']}, transformers {content['transformers']}. fp32 where nothing else is said; medians "
        f"of {setting['repeats']}, taken in turns.",
        f"An update (forward and backward, no optimizer step) of {sizes.batch} questions of {sizes.prompt} tokens with "
        f"{sizes.thoughts} thoughts and {sizes.target} target tokens. Large matrix products ran at "
        f"{' and '.join(peaks)}; the floor is all operations of an update at that speed (benchmarks/README.md), and "
        "the share of it is reached in operations that latentcot makes: it leaves out a part of the last layer. "
        f"All updates {'keep' if setting['keep_memory'] else 'return'} the memory that they free"
        f"{', as in `latentcot train`' if setting['keep_memory'] else ' to the system, as in PyTorch'}. "
        "Memory is the peak of activations and gradients.",
        _updates(sizes, Shape(**parts["shape"]), parts),
        f"{answers['tokens']} tokens after {answers['prompt']} tokens and {sizes.thoughts} thoughts, seconds a "
        f"question: latentcot {answers['questions']} at once, the published algorithm one by one and without a cache.",
        _answers(parts["answers"]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _updates(sizes: Sizes, shape: Shape, parts: Mapping[str, Any]) -> str:
    seconds, memory = parts["updates"], parts["memory"]
    head = (
        "", "seconds", "least to most", "over ordinary", "published over it", "over the floor", "share of peak",
        "memory, MB", "over ordinary's",
    )  # fmt: skip
    rows = []
    for name, of_name in seconds.items():
        # What the published algorithm computes beyond ours, it need not.
        kind = "ordinary" if name == ORDINARY else "coconut"
        speed = Speed(**parts["speed"]["bf16" if name == MIXED else "fp32"])
        floor = (1 + BACKWARD) * operations(shape, sizes.batch, PASSES[kind](sizes)).total / speed.operations
        rows.append(
            [
                name,
                *_spread(of_name),
                f"{timing.ratio(of_name, seconds[ORDINARY]):.2f}",
                f"{timing.ratio(seconds[PUBLISHED], of_name):.2f}",
                f"{median(of_name) / floor:.2f}",
                f"{share(shape, sizes, kind, median(of_name), speed):.0%}",
                f"{memory[name] / 1e6:,.0f}" if name in memory else "",
                f"{memory[name] / memory[ORDINARY]:.2f}" if name in memory else "",
            ]
        )
    return _table(head, rows)


def _answers(seconds: Mapping[str, Sequence[float]]) -> str:
    rows = [
        [name, *_spread(of_name), f"{timing.ratio(seconds[PUBLISHED], of_name):.2f}"]
        for name, of_name in seconds.items()
    ]
    return _table(("", "seconds", "least to most", "published over it"), rows)


def _spread(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{median(seconds):.3g}", f"{min(seconds):.3g} to {max(seconds):.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
