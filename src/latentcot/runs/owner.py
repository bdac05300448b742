"""Which process owns something on disk, and whether it still runs: across reboots, clock changes and containers."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other: host, boot, PID namespace, number and start."""
    process = os.getpid()
    return {"host": socket.gethostname(), "process": process, "start": _start(process), **_kernel()}


def is_alive(owner: dict[str, Any]) -> bool | None:
    """Return whether the process that `this_process` described still runs; None where this process cannot know.

    That is so on another machine, after a reboot, in another container, and where the description is damaged.
    """
    kernel, process = _kernel(), owner.get("process")
    if not isinstance(process, int) or kernel != {name: owner.get(name) for name in kernel}:
        return None
    try:
        start = _start(process)
    except PermissionError:
        return None
    return start is not None and start == owner.get("start")


def _kernel() -> dict[str, Any]:
    """Return within which boot and PID namespace a process number means one process; the host where none is told.

    Names of hosts repeat in containers, so they count only where the system has neither.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "namespace": str(Path("/proc/self/ns/pid").readlink())}
    except OSError:
        return {"boot": None, "namespace": socket.gethostname()}


def _start(process: int) -> float | None:
    """Return when a process began, None if it is gone (or ended, and its parent has not yet taken note).

    In ticks since the boot, which no change of the clock moves, where the system tells them. PermissionError if the
    process is hidden from this user.
    """
    if not Path("/proc/self/stat").exists():
        return _start_by_clock(process)
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        with suppress(ProcessLookupError, OverflowError):
            os.kill(process, 0)  # Some systems hide the processes of other users.
        return None
    fields = stat.rpartition(")")[2].split()  # The name before may hold spaces and brackets.
    return None if fields[0] in "ZX" else float(fields[19])


def _start_by_clock(process: int) -> float | None:
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else float(found.create_time())
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return None
