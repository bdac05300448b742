"""The verb `latentcot bench`. It imports torch when it runs, since help must be instant."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Literal

from latentcot.cli.verbs import TRUST, Verbs
from latentcot.config import Scratch
from latentcot.files import refuse_existing, write_whole
from latentcot.ranges import Count, CountOrZero, Seed

GPT2 = Scratch()


def run_bench(
    model: str | None = None,
    scratch: Scratch = GPT2,
    batch: Count = 8,
    prompt: Count = 384,
    thoughts: CountOrZero = 6,
    target: Count = 12,
    answer_prompt: Count = 60,
    precision: Literal["fp32", "bf16"] = "fp32",
    threads: Count | None = None,
    repeats: Count = 5,
    seed: Seed = 0,
    json: Path | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Measure what thinking costs beside ordinary training and decoding, on a model and a machine of yours.

    Args:
        model: Hub id, local folder or checkpoint (default: GPT-2's shape with random weights, which needs no network).
        scratch: The model with random weights, where another one is wanted.
        batch: Questions at once.
        prompt: Tokens of a question.
        thoughts: Thoughts after it.
        target: Tokens of an answer in training.
        answer_prompt: Tokens of a question where answers are measured.
        precision: Of training and answering: bf16 is automatic mixed precision over fp32 weights.
        threads: Of the processor (default: PyTorch's choice).
        repeats: Measurements that medians are taken of.
        seed: Of tokens and weights.
        json: Write everything that was measured to this file, which must not exist.
        trust_remote_code: Run code that comes with the model.
    """
    if json is not None:
        refuse_existing(json, flag="--json")
    from latentcot.bench.floor import Sizes

    sizes = Sizes(batch, prompt, thoughts, target)
    import torch
    from rich.console import Console
    from transformers import set_seed

    from latentcot.bench.models import build
    from latentcot.bench.run import Setting, bench
    from latentcot.bench.show import show

    if threads is not None:
        torch.set_num_threads(threads)
    set_seed(seed)
    setting = Setting(sizes, answer_prompt, precision, repeats, seed)
    figures = bench(build(model, scratch, trust_remote_code), setting, Console(stderr=True))
    show(figures, Console())
    if json is not None:
        write_whole(json, (json_format.dumps(figures, indent=2) + "\n").encode())


VERBS: Verbs = {("bench",): (run_bench, {**TRUST})}
"""Of measuring."""
