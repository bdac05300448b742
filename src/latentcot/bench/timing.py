"""Clocks, scales and the speed of the machine."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile

from latentcot.bench.floor import Speed

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # The profiler says on every start that it starts.

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def mixed(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context that a training of this precision computes in: bf16 is autocast over fp32 weights."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def wait(device: torch.device) -> None:
    """Until the device has done all that it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def clock(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of wall time that the work takes."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def alternate(contestants: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """What each contestant says in every repeat (seconds), after one that does not count.

    They take turns within a repeat, in reverse order in every second one, so that whatever else the machine does
    meets them all alike.
    """
    order = list(contestants)
    for name in order:
        contestants[name]()
    said: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(repeats):
        for name in order:
            said[name].append(contestants[name]())
        order.reverse()
    return said


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median over the repeats of the ratio within a repeat, where both met the same machine."""
    return median(a / b for a, b in zip(over, under, strict=True))


def peak_memory(work: Callable[[], Any], device: torch.device) -> int:
    """Most bytes that PyTorch's allocator had handed out during the work, above what it had before.

    The figure is the same in every run, unlike the size of the process. What mathematics libraries allocate by
    themselves is not in it.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    return _peak(event for event in events if event["name"] == "[memory]")


def _peak(events: Iterable[Mapping[str, Any]]) -> int:
    """Most bytes held at once, of what was taken while the profiler looked on: what is older may be freed meanwhile."""
    held: dict[int, int] = {}
    now = most = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        address, size = event["args"]["Addr"], event["args"]["Bytes"]
        if size > 0:
            held[address] = size
            now += size
        else:
            now -= held.pop(address, 0)
        most = max(most, now)
    return most


SQUARES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Rows of the matrices whose products are the measured peak."""


def speed(device: torch.device, precision: Precision) -> Speed:
    """The fastest of several square products, and of several copies of large blocks."""
    products, copies = [0.0], [0.0]
    for size in SQUARES[device.type]:
        left, right = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))
        out = torch.empty_like(left)
        products += [2 * size**3 / clock(partial(torch.mm, left, right, out=out), device) for _ in range(8)]
        # As large as sixteen of the matrices, or caches would be measured.
        source = left.repeat(16, 1)
        target = torch.empty_like(source)
        copies += [2 * source.nbytes / clock(partial(target.copy_, source), device) for _ in range(5)]
    return Speed(max(products), max(copies))
