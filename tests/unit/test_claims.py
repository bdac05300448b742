"""Claims: one process of many holds one, and a dead process's claim is taken over, once."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from latentcot.core import UserError
from latentcot.runs import claims
from latentcot.runs import owner as owner_module
from latentcot.runs.claims import claim, describe_owner, is_claimed, is_doubtful
from latentcot.runs.owner import is_alive, this_process


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A living process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def claimed_by(target: Path, process: int, generation: int = 1, **changes: Any) -> Path:
    """A claim that a process of this host made, or once made."""
    start = owner_module._start(process) or 1.0
    owner = {"token": "t", **this_process(), "process": process, "start": start, **changes}
    target.mkdir(exist_ok=True)
    file = target / f".claim-{generation}"
    file.write_text(json.dumps(owner))
    return file


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_claim_is_held_and_given_back(tmp_path: Path) -> None:
    target = tmp_path / "rows" / "run"
    assert not is_claimed(target)
    with claim(target) as mine:
        assert mine
        mine.verify()
        assert is_claimed(target)
        assert describe_owner(target) == f"process {os.getpid()} on {this_process()['host']}"
        with claim(target) as again:
            assert not again
        assert is_claimed(target)
        with claim(tmp_path / "rows" / "run-2") as neighbour:
            assert neighbour
    assert not list(target.parent.iterdir())  # Nothing was written, so the folder goes as well.
    target.mkdir()
    with pytest.raises(RuntimeError, match="fails"), claim(target):
        raise RuntimeError("fails")
    assert target.is_dir()
    assert not is_claimed(target)


@pytest.mark.parametrize("stale", [False, True])
def test_one_of_many_gets_it(stale: bool, tmp_path: Path) -> None:
    process = dead()
    for number in range(20):
        target = tmp_path / f"run-{number}"
        if stale:
            claimed_by(target, process)
        barrier, taken = threading.Barrier(8), []

        def take(target: Path = target, barrier: Any = barrier, taken: list[Any] = taken) -> None:
            barrier.wait()
            taken.append(claims._take(target))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [mine.generation for mine in taken if mine is not None] == [1 + stale]
        assert [file.name for file in target.iterdir()] == [f".claim-{1 + stale}"]


def test_a_living_processs_claim_stands(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    target = tmp_path / "run"
    file = claimed_by(target, other.pid)
    os.utime(file, (0, 0))  # Its host is this one, so its heartbeat does not matter.
    with claim(target) as mine:
        assert not mine
    assert file.exists()


def test_a_number_that_another_process_got_since_is_dead(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    target = tmp_path / "run"
    claimed_by(target, other.pid, start=12345.0)
    with claim(target) as mine:
        assert mine
    assert not list(target.iterdir())


def test_a_process_whose_parent_has_not_noted_its_end_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claimed_by(tmp_path, process.pid)
    assert is_claimed(tmp_path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # It stays a zombie.
    assert not is_claimed(tmp_path)
    process.communicate()


def test_the_clock_has_no_part_in_who_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    """A clock that is set moves what psutil says of a process's start, and the age of every heartbeat."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    claimed_by(here, other.pid)
    claimed_by(elsewhere, other.pid, boot="another")
    for hours in (-5, 5):
        monkeypatch.setattr(claims, "_watched", {})
        monkeypatch.setattr(claims.time, "time", partial(float, time.time() + 3600 * hours))
        assert is_claimed(here)
        assert is_claimed(elsewhere)
        with claim(elsewhere) as mine:
            assert mine is None
        os.utime(elsewhere / ".claim-1", ns=(0, hours))  # Its heart beats, whatever its clock says.
        monkeypatch.setattr(claims, "WATCH_SECONDS", -1.0)
        assert is_claimed(elsewhere)
        assert not is_doubtful(elsewhere)
        monkeypatch.undo()


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"host": None, "boot": None}, None])
def test_where_a_process_number_means_nothing_the_heartbeat_counts(
    changes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reboot, in another container, on another machine, and where the claim is damaged."""
    file = claimed_by(tmp_path, os.getpid(), **(changes or {}))
    if changes is None:
        file.write_text('{"ho')
    assert is_claimed(tmp_path)
    assert not is_doubtful(tmp_path)
    assert str(file) in describe_owner(tmp_path) or changes is None
    for age in (2, -2):
        monkeypatch.setattr(claims, "_watched", {})
        os.utime(file, (time.time() - age * claims.STALE_SECONDS,) * 2)
        assert is_claimed(tmp_path)
        assert is_doubtful(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "WATCH_SECONDS", 0.0)
        with claim(tmp_path) as mine:
            assert mine


def test_damaged_descriptions_are_of_no_known_process() -> None:
    for owner in ({}, {"process": "1"}, {**this_process(), "process": None}, {**this_process(), "boot": 1}):
        assert is_alive(owner) is None
    assert is_alive(this_process())
    assert is_alive({**this_process(), "process": 2**40}) is False


@pytest.mark.parametrize("held", [1, 3])
def test_who_is_slow_to_take_a_stale_claim_over_lets_go(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    """Between its look, at a stale claim 1, and its own claim 2 others took over, and one holds the claim."""
    stale = claimed_by(tmp_path, dead())

    def judge_before_the_others(file: Path) -> str:
        monkeypatch.undo()
        stale.unlink()
        claimed_by(tmp_path, other.pid, generation=held)
        return "stale"

    monkeypatch.setattr(claims, "_state", judge_before_the_others)
    assert claims._take(tmp_path) is None
    assert [file.name for file in tmp_path.iterdir()] == [f".claim-{held}"]


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    with claim(tmp_path):
        file = tmp_path / ".claim-1"
        os.utime(file, (0, 0))
        for _ in range(1000):
            if beaten := file.stat().st_mtime > 0:
                break
            time.sleep(0.01)
    assert beaten


@pytest.mark.parametrize("loss", ["removed", "taken over", "made anew"])
def test_who_loses_a_claim_is_interrupted(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)

    def lose() -> None:
        with claim(tmp_path) as mine:
            assert mine
            (tmp_path / ".claim-1").unlink()
            if loss != "removed":
                claimed_by(tmp_path, other.pid, generation=2 if loss == "taken over" else 1)
            with pytest.raises(UserError, match="nothing more is written"):
                mine.verify()
            for _ in range(1000):
                time.sleep(0.01)

    with pytest.raises(UserError, match="the lock of this process on it is gone"):
        lose()
    assert is_claimed(tmp_path) == (loss != "removed")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run: cannot be written"), claim(tmp_path / "file" / "run"):
        pass


WORKER = """
import sys, threading, time
from latentcot.runs import launcher
launcher.POLL_SECONDS, launcher.GRACE_SECONDS = 0.05, 0.5
try:
    with launcher.ends_with_launcher():
        print("begun", flush=True)
        {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

LAUNCHER = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, **dict(RANK="1", TORCHELASTIC_RUN_ID="none")})
input()
"""


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        ("while True: time.sleep(0.01)", "interrupted\n"),
        ("threading.Lock().acquire(), threading.Event().wait(60)", ""),  # As in an exchange with one that is gone.
    ],
)
def test_workers_end_with_their_launcher(wait: str, said: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, WORKER.replace("{wait}", wait)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.kill()
    printed, errors = process.communicate(timeout=30)  # Until the worker, too, has closed what it inherited.
    assert printed == said
    assert "the launcher of process 1 is gone: it ends" in errors
