"""Ctrl-C while training: it saves, says where it goes on, and goes on there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentcot.data import chains, records
from latentcot.runs.folder import RunFolder
from latentcot.training.run import where_it_goes_on

LINES = 2
"""Log lines after which Ctrl-C is pressed."""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An epoch is 80 updates, after which the first checkpoint would be written."""
    records.write(tmp_path / "train.json", chains.make_splits({"train": 80}, 0, hops=2)["train"])
    scratch = {"architecture": "llama", "layers": 1, "heads": 2, "width": 16, "positions": 48}
    options = [word for name, value in scratch.items() for word in (f"--model.scratch.{name}", str(value))]
    curriculum = ["--curriculum.stages", "1", "--curriculum.epochs_first", "2", "--curriculum.epochs_per_stage", "2"]
    curriculum += ["--curriculum.epochs", "4"]
    data = ["--data.train", str(tmp_path / "train.json"), "--train.batch_size", "1"]
    return ["train", "--run", str(tmp_path / "run"), *data, *options, *curriculum]


def interrupt(words: list[str], run: Path) -> tuple[int, str]:
    """Press Ctrl-C once some updates are logged."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "latentcot", *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        log = run / "log.jsonl"
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= LINES):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    return process.returncode, error


def test_an_interrupted_run_goes_on_from_the_update_that_it_says(words: list[str], tmp_path: Path) -> None:
    code, error = interrupt(words, tmp_path / "run")
    assert code == 130, error
    (checkpoint,) = (tmp_path / "run" / "resume").iterdir()
    update = int(checkpoint.name.removeprefix("checkpoint-"))
    assert 40 <= update < 320  # Log lines are 20 updates apart.
    assert error.splitlines()[-1] == f"latentcot: error: interrupted; the same command goes on after update {update}"
    assert "Traceback" not in error


def test_where_a_run_goes_on_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert where_it_goes_on(tmp_path) == "no checkpoint was written yet: the same command begins anew"
    monkeypatch.setattr(RunFolder, "last_checkpoint", lambda self: self.resume / "checkpoint-40")
    assert where_it_goes_on(tmp_path) == "the same command goes on after update 40"
    (tmp_path / "result.json").write_text("{}")
    assert where_it_goes_on(tmp_path) == "the run was finished"
