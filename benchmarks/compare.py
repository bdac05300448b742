"""An update and answers beside the published algorithm (re-created in official.py) and an ordinary update.

    python -m benchmarks.compare --out benchmarks/results/compare-cpu

writes compare.json and compare.md there. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, set_seed

from benchmarks import official
from benchmarks.compare_table import MIXED, ORDINARY, OURS, PUBLISHED, markdown
from benchmarks.parts import Parts, command
from latentcot.bench import timing, workloads
from latentcot.bench.floor import Sizes
from latentcot.bench.models import build, shape_of
from latentcot.bench.run import require_positions
from latentcot.config import Scratch
from latentcot.files import write_whole
from latentcot.speed.memory import kept_memory

GPT2 = Scratch()


@dataclass(frozen=True)
class Answers:
    """Questions that are answered."""

    questions: int = 32
    """In a batch; the published code takes them one at a time."""
    prompt: int = 136
    """Tokens of each."""
    tokens: int = 32
    """That are written."""


def compare(
    out: Path,
    batch: int = 8,
    prompt: int = 384,
    thoughts: int = 6,
    target: int = 12,
    answers: Answers = Answers(),
    scratch: Scratch = GPT2,
    repeats: int = 5,
    threads: int | None = None,
    seed: int = 0,
    keep_memory: bool = True,
) -> None:
    """Measure, and write compare.json and compare.md to the folder OUT.

    Args:
        out: Folder of the results.
        batch: Questions in an update.
        prompt: Tokens of each.
        thoughts: Thoughts after it.
        target: Tokens of an answer in training.
        answers: Questions that are answered.
        scratch: The model.
        repeats: Measurements that medians are taken of.
        threads: Of the processor (default: PyTorch's choice).
        seed: Of tokens and weights.
        keep_memory: Whether all updates run in a process that keeps the memory it frees, as `latentcot train` does.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    set_seed(seed)
    sizes, model = Sizes(batch, prompt, thoughts, target), build(None, scratch)
    longest = answers.prompt + thoughts + 1 + answers.tokens
    require_positions(model, {"--prompt": sizes.columns + 1, "--answers.prompt": longest})
    setting = {
        "sizes": asdict(sizes),
        "answers": asdict(answers),
        "scratch": asdict(scratch),
        "keep_memory": keep_memory,
    }
    parts = Parts(out / "compare.json", {**setting, "repeats": repeats, "seed": seed})
    parts.get("shape", lambda: asdict(shape_of(model)))
    parts.get("speed", lambda: {name: asdict(timing.speed(model.device, name)) for name in timing.DTYPES})
    measure_updates(parts, model, contestants(model, sizes, seed), repeats, keep_memory)
    answering = answerers(model, sizes, answers, seed)
    parts.get("answers", lambda: timing.alternate(answering, repeats))
    text = markdown(parts.content, f"python -m benchmarks.compare {shlex.join(sys.argv[1:])}")
    write_whole(out / "compare.md", text.encode())
    print(text)


def measure_updates(
    parts: Parts, model: PreTrainedModel, updates: Mapping[str, Callable[[], None]], repeats: int, keep_memory: bool
) -> None:
    """Their seconds, and bytes at their peak; afterwards the model has no gradients."""
    clocks = {name: workloads.update_clock(model, update) for name, update in updates.items()}
    with kept_memory() if keep_memory else nullcontext():
        parts.get("updates", lambda: timing.alternate(clocks, repeats))
    # The published update takes so many small steps that the profiler's record of them outgrows 24 GB on a CPU.
    parts.get(
        "memory",
        lambda: {
            name: workloads.update_memory(model, update)
            for name, update in updates.items()
            if name != PUBLISHED or model.device.type != "cpu"
        },
    )
    model.zero_grad()


def contestants(model: PreTrainedModel, sizes: Sizes, seed: int) -> dict[str, Callable[[], None]]:
    """Updates of the same tokens."""
    ours = workloads.updates(model, sizes, "fp32", seed)
    padded = official.pad(workloads.layouts(model, sizes, seed), model.device)
    return {
        ORDINARY: ours["ordinary"],
        PUBLISHED: lambda: official.loss(model, padded).backward(),  # type: ignore[no-untyped-call]
        OURS: ours["coconut"],
        MIXED: workloads.updates(model, sizes, "bf16", seed)["coconut"],
    }


def answerers(model: PreTrainedModel, sizes: Sizes, answers: Answers, seed: int) -> dict[str, Callable[[], float]]:
    """Seconds a question: of a whole batch, and of its first one alone."""
    # The last target token is not fed, so with one of them the cue alone is read before the answer is written.
    asked = Sizes(answers.questions, answers.prompt, sizes.thoughts, 1)
    first = replace(workloads.layouts(model, asked, seed)[0], target=())
    theirs = partial(official.answer, model, first, answers.tokens)
    ours = partial(workloads.coconut_answers, model, workloads.batch_of(model, asked, seed), answers.tokens, "fp32")

    def seconds(answer: Callable[[], object], questions: int) -> float:
        model.eval()
        return timing.clock(answer, model.device) / questions

    return {PUBLISHED: partial(seconds, theirs, 1), OURS: partial(seconds, ours, answers.questions)}


if __name__ == "__main__":
    command(compare)
