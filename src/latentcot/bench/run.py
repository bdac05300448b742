"""All measurements on one model, and what they are ratios of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
import transformers
from rich.console import Console
from transformers import PreTrainedModel

from latentcot import provenance
from latentcot.bench import floor, timing, workloads
from latentcot.bench.floor import Shape, Sizes, Speed
from latentcot.bench.models import shape_of
from latentcot.bench.timing import Precision
from latentcot.core import UserError
from latentcot.speed.memory import kept_memory

STEPS = 24
"""Thoughts, and cached tokens, that one of each is the mean of."""

COT_TOKENS, ANSWER_TOKENS = 25, 2
"""Tokens that CoT and Coconut write on GSM8k (Table 1 of the paper, without Coconut's six thoughts)."""


@dataclass(frozen=True)
class Setting:
    """What is measured, and how often."""

    sizes: Sizes
    answer_prompt: int
    """Tokens of the questions that are answered."""
    precision: Precision
    repeats: int
    seed: int


def bench(model: PreTrainedModel, setting: Setting, progress: Console) -> dict[str, Any]:
    """Every figure of `latentcot bench`. UserError if the model has too few positions.

    Seconds are lists with one entry a repeat; a ratio is the median of the ratios within a repeat.
    """
    sizes = setting.sizes
    answered = max(COT_TOKENS, sizes.thoughts + 1 + ANSWER_TOKENS)
    require_positions(
        model,
        {
            "--prompt": max(sizes.columns, sizes.prompt + STEPS + 1),
            "--answer-prompt": setting.answer_prompt + answered,
        },
    )
    shape, size = shape_of(model), timing.DTYPES[setting.precision].itemsize
    progress.print("matrix products and copies")
    speed = timing.speed(model.device, setting.precision)
    progress.print("updates")
    update = measure_updates(model, setting)
    progress.print("their memory")
    memory = measure_memory(model, setting)
    progress.print("thoughts and tokens")
    thought = measure_thoughts(model, setting, STEPS)
    progress.print("answers")
    answers = {batch: measure_answers(model, setting, batch) for batch in sorted({sizes.batch, 1}, reverse=True)}
    return {
        "model": model.config.name_or_path or f"{model.config.model_type} with random weights",
        "parameters": model.num_parameters(),
        **surroundings(),
        **asdict(setting),
        "steps": STEPS,
        "update_ratio": timing.ratio(update["coconut"], update["ordinary"]),
        "thought_ratio": timing.ratio(thought["thought"], thought["token"]),
        "answers_ratio": {n: timing.ratio(seconds["cot"], seconds["coconut"]) for n, seconds in answers.items()},
        "answers_at_floor": {n: answers_at_floor(shape, n, setting, size, speed) for n in answers},
        "memory_ratio": memory["coconut"] / memory["ordinary"],
        "share_of_peak": {name: share(shape, sizes, name, median(seconds), speed) for name, seconds in update.items()},
        "peak": asdict(speed),
        "shape": asdict(shape),
        "floor": {name: reckon(shape, sizes, name, size, speed) for name in update},
        "unread": asdict(floor.unread(shape, sizes)),
        "seconds": {"update": update, "thought": thought, "answers": answers},
        "memory": memory,
    }


def require_positions(model: PreTrainedModel, needs: Mapping[str, int]) -> None:
    """UserError unless the model has as many positions as each flag makes it need."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for flag, columns in needs.items():
        if positions is not None and columns > positions:
            raise UserError(
                f"{flag}: with what follows the prompt {columns} positions are measured and the model has {positions}: "
                f"give a shorter {flag}"
            )


def surroundings() -> dict[str, Any]:
    """Code, versions and machine."""
    cpu = f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "code": provenance.code(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": provenance.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "threads": torch.get_num_threads(),
    }


def measure_updates(model: PreTrainedModel, setting: Setting) -> dict[str, list[float]]:
    """Seconds of the forward and backward pass of `coconut`'s update and of the `ordinary` one, as `train` runs."""
    contestants = workloads.updates(model, setting.sizes, setting.precision, setting.seed)
    clocks = {name: workloads.update_clock(model, update) for name, update in contestants.items()}
    with kept_memory():
        seconds = timing.alternate(clocks, setting.repeats)
    model.zero_grad()
    return seconds


def measure_memory(model: PreTrainedModel, setting: Setting) -> dict[str, int]:
    """Bytes that either update takes at its peak beside the weights."""
    contestants = workloads.updates(model, setting.sizes, setting.precision, setting.seed)
    peaks = {name: workloads.update_memory(model, update) for name, update in contestants.items()}
    model.zero_grad()
    return peaks


def measure_thoughts(model: PreTrainedModel, setting: Setting, steps: int) -> dict[str, list[float]]:
    """Seconds of one `thought` and of one cached `token` of the stock `generate`: means of so many after the prompt."""
    batch = workloads.batch_of(model, setting.sizes, setting.seed)
    return timing.alternate(
        {
            "thought": partial(workloads.thought_seconds, model, batch, steps, setting.precision),
            "token": partial(workloads.token_seconds, model, batch, steps, setting.precision),
        },
        setting.repeats,
    )


def measure_answers(model: PreTrainedModel, setting: Setting, batch_size: int) -> dict[str, list[float]]:
    """Seconds in which a batch is answered by `coconut` and by `cot`."""
    # The last target token is not fed, so with one of them the cue alone is read before the answer is written.
    sizes = replace(setting.sizes, batch=batch_size, prompt=setting.answer_prompt, target=1)
    batch = workloads.batch_of(model, sizes, setting.seed)
    coconut = partial(workloads.coconut_answers, model, batch, ANSWER_TOKENS, setting.precision)
    cot = partial(workloads.stock_answers, model, batch, COT_TOKENS, setting.precision)
    return timing.alternate(
        {
            "coconut": partial(timing.clock, coconut, model.device),
            "cot": partial(timing.clock, cot, model.device),
        },
        setting.repeats,
    )


PASSES = {"coconut": floor.coconut_passes, "ordinary": floor.ordinary_passes}


def share(shape: Shape, sizes: Sizes, name: str, seconds: float, speed: Speed) -> float:
    """Of the measured peak of matrix products, what an update of so many seconds reaches."""
    if name == "coconut":
        forward = floor.operations_made(shape, sizes)
    else:
        forward = floor.operations(shape, sizes.batch, PASSES[name](sizes)).total
    return (1 + floor.BACKWARD) * forward / seconds / speed.operations


def reckon(shape: Shape, sizes: Sizes, name: str, size: int, speed: Speed) -> dict[str, Any]:
    """An update's operations and bytes, forward and backward, and the least seconds that it takes at this speed."""
    passes = PASSES[name](sizes)
    return {
        "passes": len(passes),
        "forward_operations": asdict(floor.operations(shape, sizes.batch, passes)),
        "forward_bytes": asdict(floor.forward_bytes(shape, sizes.batch, passes, size)),
        "backward_bytes": asdict(floor.backward_bytes(shape, sizes.batch, passes, size)),
        "seconds": floor.update_seconds(shape, sizes.batch, passes, size, speed),
    }


def answers_at_floor(shape: Shape, batch: int, setting: Setting, size: int, speed: Speed) -> float:
    """CoT's least seconds over Coconut's at this speed: the ratio if both ran at the machine's limit."""
    cot = floor.answer_passes(setting.answer_prompt, 0, COT_TOKENS)
    coconut = floor.answer_passes(setting.answer_prompt, setting.sizes.thoughts, ANSWER_TOKENS)
    return floor.answer_seconds(shape, batch, cot, size, speed) / floor.answer_seconds(
        shape, batch, coconut, size, speed
    )
