"""Locks on folders that several processes, containers or machines share.

A claim on a folder is a file `.claim-G` in it that names its owner. It is made exclusively, and its owner touches it
every `HEARTBEAT_SECONDS`. A claim whose owner is gone is stale, and is taken over by making generation G + 1: of many
who try, the file system lets one. The claim lies inside the folder, so that every path to the folder, and every
container that mounts nothing else, finds the same one.

Whether an owner is gone is asked of the system where it can be known (the same boot and the same PID namespace), and
concluded from the heartbeat elsewhere. No conclusion hangs on a clock that may be set: the start of a process is
counted in ticks since the boot, and a heartbeat that looks old is watched for a while first.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from latentcot.core import UserError
from latentcot.files import draft_path
from latentcot.runs.owner import is_alive, this_process

HEARTBEAT_SECONDS = 30.0

STALE_SECONDS = 600.0
"""A heartbeat older than this may be that of a process that is gone; long enough for a busy disk."""

WATCH_SECONDS = 75.0
"""How long a heartbeat that looks old is watched before it counts as such: the clock may have been set meanwhile."""


@dataclass(frozen=True)
class Claim:
    """A claim on a folder that this process, or rank 0 of its launch, holds."""

    target: Path
    generation: int
    token: str

    def verify(self) -> None:
        """UserError if the claim is not held any more: removed, or taken over by another process."""
        try:
            token = json.loads(_file(self.target, self.generation).read_text(encoding="utf-8"))["token"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            token = None
        except OSError:  # A moment's fault of a network file system.
            return
        if token != self.token:
            raise UserError(
                f"{self.target}: the lock of this process on it is gone (removed, or taken over by another process): "
                "nothing more is written here"
            )


@dataclass
class _Heartbeat:
    """What this process has seen of a heartbeat: the newest time stamp, when it was first seen, if it ever changed."""

    stamp: int
    since: float
    changed: bool = False


_watched: dict[Path, _Heartbeat] = {}


@contextmanager
def claim(target: Path) -> Iterator[Claim | None]:
    """Hold the claim on the folder `target`, which is made if missing, while the context lasts.

    The context gets None where another process holds it. If the claim is lost meanwhile (the machine slept, and another
    process took over) the main thread is interrupted, and the context raises UserError.
    """
    is_new = not target.exists()
    mine = _take(target)
    if mine is None:
        yield None
        return
    ended, lost = threading.Event(), threading.Event()
    beat = threading.Thread(target=_beat, args=(mine, ended, lost), daemon=True)
    beat.start()
    try:
        yield mine
    except KeyboardInterrupt:
        if lost.is_set():
            mine.verify()
        raise
    finally:
        ended.set()
        beat.join()
        if _is_held(mine):
            _file(target, mine.generation).unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # Something was written into it.
                target.rmdir()


def is_claimed(target: Path) -> bool:
    """Return whether a living process holds the claim on the folder `target`."""
    generations = _generations(target)
    return bool(generations) and _state(_file(target, generations[-1])) != "stale"


def is_doubtful(target: Path) -> bool:
    """Return whether the owner of the claim on `target` may be gone, which a while of watching will show."""
    generations = _generations(target)
    return bool(generations) and _state(_file(target, generations[-1])) == "doubtful"


def describe_owner(target: Path) -> str:
    """Return who holds the claim on `target`, and what to do where that process is gone."""
    generations = _generations(target)
    file = _file(target, generations[-1]) if generations else None
    owner = _read_owner(file) if file else None
    if file is None or owner is None:
        return "another process"
    text = f"process {owner.get('process')} on {owner.get('host')}"
    if is_alive(owner) is None:
        text += f" (if that is gone: wait {STALE_SECONDS / 60:.0f} minutes, or remove {file})"
    return text


def is_claim_file(path: Path) -> bool:
    """Return whether a file is a claim on its folder, or the draft of one."""
    return re.fullmatch(r"\.claim-\d+|\.\.claim-\d+\.\d+-[0-9a-f]+\.tmp", path.name) is not None


def _take(target: Path) -> Claim | None:
    """Return a new claim of this process, or None if another process holds one."""
    before = _generations(target)
    if before and _state(_file(target, before[-1])) != "stale":
        return None
    mine = Claim(target, before[-1] + 1 if before else 1, secrets.token_hex(8))
    if not _create(mine):
        return None
    # Since the look before, others may have taken the claim, and given it back, so that a second claim stands beside.
    others = [generation for generation in _generations(target) if generation != mine.generation]
    if any(generation > mine.generation or _state(_file(target, generation)) != "stale" for generation in others):
        _file(target, mine.generation).unlink(missing_ok=True)
        return None
    for generation in others:  # Their owners, if they do run on after all, see by that that they have lost the claim.
        _file(target, generation).unlink(missing_ok=True)
    return mine


def _create(claim: Claim) -> bool:
    """Make the file of a claim, with its content at once; False if there is one already."""
    file = _file(claim.target, claim.generation)
    content = json.dumps({"token": claim.token, **this_process()})
    draft = draft_path(file)
    try:
        claim.target.mkdir(parents=True, exist_ok=True)
        draft.write_text(content, encoding="utf-8")
        try:
            os.link(draft, file)
        except FileExistsError:
            return False
        except OSError:  # A file system without hard links.
            with file.open("x", encoding="utf-8") as written:
                written.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        if isinstance(error, FileNotFoundError):  # Another process has let go, and removed the folder, this moment.
            return False
        raise UserError(
            f"{claim.target}: cannot be written ({error.strerror}): give another folder, or free space there"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return True


def _beat(mine: Claim, ended: threading.Event, lost: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        if not _is_held(mine):
            break
        with suppress(OSError):  # A moment's fault of a network file system.
            os.utime(_file(mine.target, mine.generation))
    else:
        return
    lost.set()
    interrupt_main_thread()


def _is_held(mine: Claim) -> bool:
    try:
        mine.verify()
    except UserError:
        return False
    return True


def interrupt_main_thread() -> None:
    """As Ctrl-C does, but also where that is ignored, as in a job in the background of a script."""
    main = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))


def _state(file: Path) -> Literal["held", "doubtful", "stale"]:
    """Return whether the owner of a claim is at work, perhaps gone (watch on), or gone."""
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:  # Given back this moment, and perhaps taken again.
        return "held"
    alive = is_alive(_read_owner(file) or {})
    if alive is not None:
        return "held" if alive else "stale"
    now = time.monotonic()
    seen = _watched.setdefault(file, _Heartbeat(stamp, now))
    if seen.stamp != stamp:
        seen.stamp, seen.since, seen.changed = stamp, now, True
    if seen.changed:
        return "held" if now - seen.since < STALE_SECONDS else "stale"
    # Also in the future: the clock of the owner, or of this machine, was set.
    if abs(time.time() - stamp / 1e9) <= STALE_SECONDS:
        return "held"
    return "doubtful" if now - seen.since < WATCH_SECONDS else "stale"


def _read_owner(file: Path) -> dict[str, Any] | None:
    """Return what a claim says of its owner; None if it is gone or damaged."""
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _generations(target: Path) -> list[int]:
    """Return the generations of the claims on `target`, in order."""
    files = target.iterdir() if target.is_dir() else ()
    return sorted(int(match[1]) for file in files if (match := re.fullmatch(r"\.claim-(\d+)", file.name)))


def _file(target: Path, generation: int) -> Path:
    return target / f".claim-{generation}"
