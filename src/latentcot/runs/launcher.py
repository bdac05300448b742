"""Processes that a launcher started (torchrun, `accelerate launch`) end when it is gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from latentcot.runs.claims import interrupt_main_thread

POLL_SECONDS = 2.0

GRACE_SECONDS = 20.0
"""How long the main thread has to end by itself: it may hang in an exchange with processes that are gone."""


@contextmanager
def ends_with_launcher() -> Iterator[None]:
    """Inside, this process ends soon after its launcher has died; without a launcher nothing changes.

    Workers of a killed launcher would otherwise train on, unseen, in a folder that the user starts again.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # As torchrun and what builds on it set it.
        yield
        return
    ended = threading.Event()
    threading.Thread(target=_watch, args=(os.getppid(), ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(launcher: int, ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        if os.getppid() != launcher:
            rank = os.environ.get("RANK", "0")
            print(f"latentcot: error: the launcher of process {rank} is gone: it ends", file=sys.stderr, flush=True)
            interrupt_main_thread()
            if not ended.wait(GRACE_SECONDS):
                os._exit(1)
            return
