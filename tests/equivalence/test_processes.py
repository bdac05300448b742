"""Two processes do what one does, under DDP and FSDP2: losses, answers, checkpoints, and going on where they stopped.

Rows are ragged, the training set fills neither the last update nor its last micro-batch, and the validation set is
smaller than a batch and divides unevenly.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import latentcot
from benchmarks.scale import FP32, Shape, gathered, reduced
from latentcot.config import DataConfig, ModelConfig, RunConfig, Scratch, TrainConfig, to_mapping
from latentcot.curriculum import Curriculum
from latentcot.data import chains, records
from latentcot.training.run import train
from tests.equivalence.launched import watched

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    for name, examples in chains.make_splits({"train": 29, "valid": 5}, 0, hops=3).items():
        records.write(tmp_path / f"{name}.json", examples)
    return DataConfig(train=str(tmp_path / "train.json"), valid=str(tmp_path / "valid.json"), reshuffle=True)


def config(data: DataConfig, dropout: float = 0.0, architecture: str = "llama", **train: Any) -> RunConfig:
    """Three stages of an epoch, with four updates of two micro-batches each."""
    scratch = Scratch(
        architecture,
        layers=2,
        heads=2,
        width=32,
        positions=64,
        dropout=dropout,
        tie_embeddings=False,
        initializer_range=0.2,
    )
    settings = {"lr": 1e-3, "clip": 1.0, "batch_size": 8, "micro_batch": 2, "max_new_tokens": 6}
    return RunConfig(
        curriculum=Curriculum(stages=2, epochs_first=1, epochs_per_stage=1, epochs=3, mix=0.3, number="per_example"),
        model=ModelConfig(scratch=scratch),
        data=data,
        train=TrainConfig(**{**settings, "save_steps": 1, **train}, keep_stages=True),
    )


def launch(recipe: str, *words: str) -> str:
    """`accelerate launch` with a recipe's settings, and what it writes to standard error."""
    settings = str(ROOT / "recipes" / "accelerate" / recipe)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", settings, *words]
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_same(first: Path, second: Path, tolerance: float) -> None:
    """The same losses, gradients, validations and checkpoints."""
    names = ("loss", "grad_norm", "eval_accuracy", "eval_tokens", "eval_thought_norm_ratio", "stage")
    logs = [[e[name] for e in lines(run / "log.jsonl") for name in names if name in e] for run in (first, second)]
    assert logs[1] == pytest.approx(logs[0], abs=tolerance, rel=tolerance)
    for name in ("stage-0", "stage-1", "stage-2", "best"):
        weights = load_file(second / name / "model.safetensors")
        for key, tensor in load_file(first / name / "model.safetensors").items():
            torch.testing.assert_close(weights[key], tensor, atol=tolerance, rtol=tolerance)


def answers(run: Path, ranks: Sequence[int]) -> list[list[list[str]]]:
    """Question and answer of each validation, in the order of the questions; one asked twice stands there twice."""
    shares = zip(*(lines(run.with_name(f"{run.name}.answers.{rank}")) for rank in ranks), strict=True)
    return [sorted(pair for share in validation for pair in share) for validation in shares]


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_are_one(kind: str, data: DataConfig, tmp_path: Path) -> None:
    """FSDP2 with weights gathered once an update and, in `resharded`, in every pass; `window` has a sliding window."""
    settings = {"plain": config(data)}
    # A log line for every third update; the checkpoint that the cut run goes on from lies between two.
    settings |= dict.fromkeys(("dropout", "cut"), config(data, 0.1, batch_size=2, micro_batch=1, save_steps=2))
    settings["taught"] = config(data, thought_loss=1.0)
    if kind == "ddp":
        settings["muon"] = config(data, optimizer="muon")
    if kind == "fsdp2":
        settings |= {"resharded": config(data), "window": config(data, architecture="gemma3_text")}
    for name, each in settings.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(to_mapping(each)))
    runs = [
        {
            "words": ["train", "--config", str(tmp_path / f"{name}.yaml")],
            "run": str(tmp_path / name),
            "stop_at": 5 if name == "cut" else None,
            "reshard": name == "resharded",
        }
        for name in settings
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    launch(f"{kind}-cpu.yaml", str(ROOT / "tests" / "equivalence" / "launched.py"), str(tmp_path / "runs.json"))

    valid = sorted(example.question for example in records.read(tmp_path / "valid.json"))
    for name in settings.keys() - {"dropout", "cut"}:
        one = tmp_path / f"one-{name}"
        with watched(one):
            train(settings[name], one)
        # Muon makes its updates orthogonal in bf16, which rounds far more coarsely, and otherwise on every kind of CPU.
        assert_same(one, tmp_path / name, tolerance=5e-3 if name == "muon" else 1e-5)
        found = answers(tmp_path / name, [0, 1])
        assert [[question for question, _ in validation] for validation in found] == [valid] * 3
        assert found == answers(one, [0])
        assert len(latentcot.answer(latentcot.load(tmp_path / name), valid)) == len(valid)
    if kind == "fsdp2":
        assert_traffic(tmp_path)

    # The documented command goes on with the run that was cut; under FSDP2 it gathers weights in the other way.
    other = ["--fsdp_reshard_after_forward", "true"] if kind == "fsdp2" else []
    assert not (tmp_path / "cut" / "result.json").exists()
    words = ["--config", str(tmp_path / "cut.yaml"), "--run", str(tmp_path / "cut")]
    launch(f"{kind}-cpu.yaml", *other, "-m", "latentcot", "train", *words)
    assert_same(tmp_path / "dropout", tmp_path / "cut", tolerance=0.0)


def test_all_processes_stop_when_training_diverges(data: DataConfig, tmp_path: Path) -> None:
    """Rank 1 alone meets a loss that is not finite, in the second update; no process waits for another."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_mapping(config(data))))
    words = ["train", "--config", str(tmp_path / "run.yaml")]
    run = {"words": words, "run": str(tmp_path / "run"), "stop_at": None, "reshard": False}
    runs = [{**run, "diverge": [1, 1], "code": 2}]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    error = launch("ddp-cpu.yaml", str(ROOT / "tests" / "equivalence" / "launched.py"), str(tmp_path / "runs.json"))
    assert error.count("training has diverged: the loss is nan at update 2 ") == 2
    assert [path.name for path in (tmp_path / "run" / "resume").iterdir()] == ["checkpoint-1"]
    assert [entry["step"] for entry in lines(tmp_path / "run" / "log.jsonl")] == [1]


def assert_traffic(folder: Path) -> None:
    """FSDP2 moves the bytes that the page on scale reckons with."""
    model = latentcot.load(folder / "plain").model.config
    sizes = (model.num_hidden_layers, model.hidden_size, model.num_attention_heads, model.num_key_value_heads)
    shape = Shape(*sizes, model.head_dim, model.intermediate_size, model.vocab_size, tied=False)
    plain, resharded = (lines(folder / f"{name}.traffic.0") for name in ("plain", "resharded"))
    # An odd vocabulary is padded, hence not exactly.
    for entry in plain + resharded:
        assert entry["reduced"] == pytest.approx(reduced(shape, FP32), rel=0.01)
    for first, second in zip(plain[::2], plain[1::2], strict=True):
        assert first["gathered"] == pytest.approx(gathered(shape, first["thoughts"], False, FP32), rel=0.01)
        assert second["gathered"] == 0
    thinking = [entry for entry in resharded if entry["thoughts"]]
    assert {entry["thoughts"] for entry in thinking} == {1, 2}
    for entry in thinking:
        assert entry["gathered"] == pytest.approx(gathered(shape, entry["thoughts"], True, FP32), rel=0.01)
