"""The figures of `latentcot bench` in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from latentcot.bench.floor import BACKWARD
from latentcot.bench.run import ANSWER_TOKENS, COT_TOKENS


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print what `bench` returned, with a line on what each ratio means."""
    sizes = figures["sizes"]
    for line in (
        f"{figures['model']}, {figures['parameters']:,} parameters, {figures['precision']}",
        ", ".join(f"{name} {size}" for name, size in sizes.items()) + f"; medians of {figures['repeats']}",
        f"{figures['device']}, {figures['threads']} threads; {figures['machine']}",
        f"latentcot {figures['code']}; torch {figures['torch']}, transformers {figures['transformers']}",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_ratios(figures))
    console.print(_limits(figures))
    for line in _meanings(figures):
        console.print(line, highlight=False, soft_wrap=True)


def _ratios(figures: Mapping[str, Any]) -> Table:
    seconds, memory = figures["seconds"], figures["memory"]
    table = Table("", "latentcot", "beside it", "ratio")
    table.add_row("update_ratio", *_both(seconds["update"], "coconut", "ordinary"), f"{figures['update_ratio']:.2f}")
    table.add_row("thought_ratio", *_both(seconds["thought"], "thought", "token"), f"{figures['thought_ratio']:.2f}")
    for batch, of_batch in seconds["answers"].items():
        faster = f"{figures['answers_ratio'][batch]:.2f} ({figures['answers_at_floor'][batch]:.2f} at the floor)"
        table.add_row(f"answers_ratio, batch {batch}", *_both(of_batch, "coconut", "cot"), faster)
    peaks = (f"{memory[name] / 1e6:,.0f} MB" for name in ("coconut", "ordinary"))
    table.add_row("memory_ratio", *peaks, f"{figures['memory_ratio']:.2f}")
    return table


def _both(seconds: Mapping[str, list[float]], ours: str, theirs: str) -> tuple[str, str]:
    return f"{median(seconds[ours]):.4g} s", f"{median(seconds[theirs]):.4g} s"


def _limits(figures: Mapping[str, Any]) -> Table:
    table = Table("", "operations", "bytes", "floor", "share of peak")
    for name, reckoned in figures["floor"].items():
        operations = (1 + BACKWARD) * sum(reckoned["forward_operations"].values())
        moved = sum(reckoned["forward_bytes"].values()) + sum(reckoned["backward_bytes"].values())
        share = f"{figures['share_of_peak'][name]:.1%}"
        table.add_row(f"{name} update", f"{operations:.3g}", f"{moved:.3g}", f"{reckoned['seconds']:.3g} s", share)
    return table


def _meanings(figures: Mapping[str, Any]) -> list[str]:
    peak, thoughts = figures["peak"], figures["sizes"]["thoughts"]
    return [
        "update_ratio: a Coconut update over an ordinary supervised one of as many tokens; forward and backward, "
        "the optimizer's step on neither side",
        "thought_ratio: a thought over a cached token of the stock generate; means of "
        f"{figures['steps']} after the same prompt",
        f"answers_ratio: questions a second, {figures['answer_prompt']} tokens each: {thoughts} thoughts and "
        f"{ANSWER_TOKENS} tokens over CoT's {COT_TOKENS} tokens by the stock generate",
        "memory_ratio: peak memory of a Coconut update over an ordinary one's; activations and gradients, beside "
        "weights and optimizer",
        f"peak: {peak['operations'] / 1e9:,.0f} GFLOP/s in large products and {peak['bytes'] / 1e9:,.1f} GB/s in "
        "copies, measured here; floor: the time if nothing else bound any pass",
    ]
