"""Who works on what in a folder that several processes, or machines, share.

A claim on `NAME` is a file `NAME.claim-G` with its owner's host and process. It is made exclusively, and its time of
change is its owner's heartbeat. A claim whose process is dead (on this host) or whose heartbeat is old (on another) is
stale, and is taken over by making generation G + 1: of many who try, the file system lets one. Hosts need clocks that
agree to a few minutes.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HEARTBEAT_SECONDS = 30.0

STALE_SECONDS = 600.0
"""A heartbeat older than this is a dead one; long enough for a busy disk."""


@contextmanager
def claim(target: Path) -> Iterator[bool]:
    """Hold the claim on `target` while the context lasts; the context gets False where another process holds it.

    If the claim is lost meanwhile (the machine slept, and another took over) the main thread is interrupted.
    """
    mine = _take(target)
    if mine is None:
        yield False
        return
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(target, mine, ended), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        ended.set()
        beat.join()
        # Upwards, so that the claim holds until the last of its files is gone.
        for generation in _generations(target):
            if generation <= mine:
                _file(target, generation).unlink(missing_ok=True)


def is_claimed(target: Path) -> bool:
    """Whether a living process holds the claim on `target`."""
    generations = _generations(target)
    return bool(generations) and not _is_stale(_file(target, generations[-1]))


def _take(target: Path) -> int | None:
    """The generation of a new claim of this process, or None if another process holds it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    before = _generations(target)
    if before and not _is_stale(_file(target, before[-1])):
        return None
    mine = before[-1] + 1 if before else 1
    try:
        with _file(target, mine).open("x", encoding="utf-8") as file:
            json.dump({"host": socket.gethostname(), "process": os.getpid(), "born": _born(os.getpid())}, file)
    except FileExistsError:
        return None
    # Since the look before, others may have taken the claim, and given it back, so that a second claim stands beside.
    others = [generation for generation in _generations(target) if generation != mine]
    if any(generation > mine or not _is_stale(_file(target, generation)) for generation in others):
        _file(target, mine).unlink()
        return None
    return mine


def _beat(target: Path, mine: int, ended: threading.Event) -> None:
    overtaken = 0
    while not ended.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(_file(target, mine))
        except FileNotFoundError:
            _interrupt_main()
            return
        # Not at the first sight: a process that tries, and lets go, makes a claim for a moment.
        overtaken = overtaken + 1 if max(_generations(target), default=mine) > mine else 0
        if overtaken > 1:
            _interrupt_main()
            return


def _interrupt_main() -> None:
    """As Ctrl-C does, but also where that is ignored, as in a job in the background of a script."""
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))


def _is_stale(file: Path) -> bool:
    try:
        age = time.time() - file.stat().st_mtime
        owner = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:  # Given back this moment, and perhaps taken again.
        return False
    except ValueError:  # Being written, or its writer died then.
        return age > STALE_SECONDS
    if owner["host"] == socket.gethostname():
        return bool(_born(owner["process"]) != owner["born"])
    return age > STALE_SECONDS


def _born(process: int) -> int | None:
    """When a process of this host began, in seconds, which tells it from a later one of its number; None if dead."""
    try:
        return int(psutil.Process(process).create_time())
    except psutil.NoSuchProcess:
        return None


def _generations(target: Path) -> list[int]:
    """The generations of the claims on `target`, in order."""
    name = re.compile(re.escape(target.name) + r"\.claim-(\d+)")
    files = target.parent.iterdir() if target.parent.is_dir() else ()
    return sorted(int(match[1]) for file in files if (match := name.fullmatch(file.name)))


def _file(target: Path, generation: int) -> Path:
    return target.with_name(f"{target.name}.claim-{generation}")
