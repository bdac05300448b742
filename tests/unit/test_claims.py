"""Claims: one process of many holds one, and a dead process's claim is taken over, once."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentcot.table import claims
from latentcot.table.claims import claim, is_claimed


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A living process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def claimed_by(target: Path, process: int, generation: int = 1, **changes: Any) -> Path:
    """A claim that a process of this host made, or once made."""
    owner = {"host": claims.socket.gethostname(), "process": process, "born": claims._born(process) or 1, **changes}
    file = target.with_name(f"{target.name}.claim-{generation}")
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
        assert is_claimed(target)
        with claim(target) as again:
            assert not again
        assert is_claimed(target)
        with claim(tmp_path / "rows" / "run-2") as neighbour:
            assert neighbour
    assert not list(target.parent.iterdir())
    with pytest.raises(RuntimeError, match="fails"), claim(target):
        raise RuntimeError("fails")
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
        assert [generation for generation in taken if generation is not None] == [1 + stale]


def test_a_living_processs_claim_stands(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    target = tmp_path / "run"
    file = claimed_by(target, other.pid)
    os.utime(file, (0, 0))  # Its host is this one, so its heartbeat does not matter.
    with claim(target) as mine:
        assert not mine
    assert file.exists()


def test_a_number_that_another_process_got_since_is_dead(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    target = tmp_path / "run"
    claimed_by(target, other.pid, born=12345)
    with claim(target) as mine:
        assert mine
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [{"host": "elsewhere", "process": 1, "born": 1}, None])
def test_elsewhere_and_half_written_the_heartbeat_counts(content: Any, tmp_path: Path) -> None:
    target = tmp_path / "run"
    file = claimed_by(target, 1)
    file.write_text(json.dumps(content) if content else '{"ho')
    assert is_claimed(target)
    os.utime(file, (time.time() - 2 * claims.STALE_SECONDS,) * 2)
    with claim(target) as mine:
        assert mine


@pytest.mark.parametrize("held", [1, 3])
def test_who_is_slow_to_take_a_stale_claim_over_lets_go(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[bytes]
) -> None:
    """Between its look, at a stale claim 1, and its own claim 2 others took over, and one holds the claim."""
    target = tmp_path / "run"
    stale = claimed_by(target, dead())

    def judge_before_the_others(file: Path) -> bool:
        monkeypatch.undo()
        stale.unlink()
        claimed_by(target, other.pid, generation=held)
        return True

    monkeypatch.setattr(claims, "_is_stale", judge_before_the_others)
    assert claims._take(target) is None
    assert [file.name for file in tmp_path.iterdir()] == [f"run.claim-{held}"]


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    with claim(tmp_path / "run"):
        file = tmp_path / "run.claim-1"
        os.utime(file, (0, 0))
        for _ in range(1000):
            if beaten := file.stat().st_mtime > 0:
                break
            time.sleep(0.01)
    assert beaten


@pytest.mark.parametrize("loss", ["removed", "taken over"])
def test_who_loses_a_claim_is_interrupted(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    target = tmp_path / "run"

    def lose() -> None:
        with claim(target):
            if loss == "removed":
                (tmp_path / "run.claim-1").unlink()
            else:
                claimed_by(target, os.getpid(), generation=2)
            for _ in range(1000):
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        lose()
    assert is_claimed(target) == (loss == "taken over")
