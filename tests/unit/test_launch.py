"""Several processes, tasks and devices: joined by a launcher of PyTorch, or refused in one line."""

import re
from pathlib import Path

import pytest
import torch
from transformers.training_args import ParallelMode

from latentcot.cli import main
from latentcot.training.processes import OneDeviceArguments, unused_devices_note

ALL_BUT_TRAIN = [
    ["eval", "RUN", "--data", "x.json"],
    ["generate", "RUN", "question"],
    ["report", "RUN"],
    ["analyze", "tree", "RUN", "--data", "x.json", "--out", "OUT"],
    ["table", "recipe.yaml", "--run", "RUN"],
    ["quickstart"],
]


@pytest.mark.parametrize("words", ALL_BUT_TRAIN, ids=lambda words: words[0])
def test_under_a_launcher_only_train_works(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words) == 2
    assert f"error: {words[0]}" in (error := capsys.readouterr().err)
    assert "start it without a launcher" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SLURM_STEP_NUM_TASKS": "2"}, "srun started 2 tasks"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "mpirun started 4 tasks"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "WORLD_SIZE": "2"}, "DeepSpeed: .*fsdp2.yaml"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true", "WORLD_SIZE": "2"}, "Megatron-LM: .*fsdp2.yaml"),
    ],
)
def test_tasks_that_are_not_joined_do_not_train(
    environment: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "--run", str(tmp_path / "run"), "--data.train", "absent.json"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # A batch script, which runs once.
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "2"},  # A launcher inside each task.
    ],
)
def test_tasks_that_are_joined_train(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come to the next fault, a file that is not there."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "--run", str(tmp_path / "run"), "--data.train", "absent.json"]) == 2
    assert "absent.json: no such file" in capsys.readouterr().err


def test_one_process_uses_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four GPUs, the stock Trainer would take an update four times as large, over nn.DataParallel."""
    arguments = OneDeviceArguments(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
    assert arguments.device.type == "cpu"
    arguments._n_gpu = 4  # As `device` finds them where there are four.
    assert arguments.n_gpu == 1
    assert arguments.parallel_mode is ParallelMode.NOT_PARALLEL
    assert arguments.train_batch_size == 8


@pytest.mark.parametrize(
    ("count", "world", "said"), [(4, None, True), (1, None, False), (0, None, False), (4, 4, False)]
)
def test_devices_that_stand_idle_are_named(
    count: int, world: int | None, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if world:
        monkeypatch.setenv("WORLD_SIZE", str(world))
    note = unused_devices_note()
    assert (note is not None) == said
    if note:
        assert "one of 4 GPUs is used" in note
        assert "--num_processes 4" in note
