"""Run folders as `latentcot train` leaves them, of models that were not trained: made in a moment."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from latentcot.checkpoint import Checkpoint, start
from latentcot.config import DataConfig, ModelConfig, RunConfig, Scratch, to_mapping
from latentcot.data import records
from latentcot.methods import Method
from latentcot.tokens import texts_of

STAGES = [{"stage": 0, "thoughts": 0, "accuracy": 0.25}, {"stage": 1, "thoughts": 1, "accuracy": 0.5}]
BEST = {"accuracy": 0.5, "tokens": 4.0, "thoughts": 1.0, "seconds_per_example": 0.001}
TEST: dict[str, Any] = {
    "dataset": "d", "row": "coconut", "seed": 0, "right": 5, "n": 10, **BEST, "batch_size": 64, "test": "test.json",
    "sha256": dict.fromkeys(("train", "valid", "test"), "0" * 64), "start": None, "code": "0", "machine": "m",
    "device": "cpu",
}  # fmt: skip
"""Of a table's cell."""

LOG = [
    {"loss": 1.5, "stage": 0, "seconds": 1.0, "epoch": 0.5, "step": 1},
    {"eval_accuracy": 0.5, "stage": 0, "seconds": 2.0, "epoch": 1.0, "step": 2},
]


def make_run(run: Path, method: Method, valid: Path, thoughts: int = 2) -> Path:
    """Write the folder of a finished run of a row, validated on the file `valid`, whose words its model knows."""
    torch.manual_seed(0)
    examples = records.read(valid)
    scratch = Scratch(layers=1, heads=2, width=16, positions=256)
    model, tokenizer, markers = start(ModelConfig(scratch=scratch), texts_of(examples))
    config = RunConfig(method=method, data=DataConfig(train=str(valid), valid=str(valid)))
    most = method.plan(config.curriculum, longest=20)[-1].thoughts and thoughts
    Checkpoint(model, tokenizer, method.frame(markers), most, method.name, max_new_tokens=6).save(run / "best")
    write_records(run, config, {name: records.digest(examples) for name in ("train", "valid")})
    return run


def write_records(run: Path, config: RunConfig, sha256: dict[str, str]) -> None:
    """Write the run's files beside its checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "row": config.method.name, "seed": config.seed, "data": {"train": 1, "valid": 1, "dropped": {}}, "updates": 2,
        "parameters": 1000, "seconds": 2.0, "padding": 0.0, "waiting": 0.0, "stages": STAGES, "best": BEST,
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump({**to_mapping(config), "sha256": sha256}, sort_keys=False))
    (run / "result.json").write_text(json.dumps(result))
    (run / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in LOG))
