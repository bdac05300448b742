"""Small training runs whose losses and answers are kept, so that a refactor shows if it changes a result.

    python -m tests.golden.runs            # write tests/golden/expected.json anew

Write it anew only where a result must change, and say why in the commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from latentcot.cli import main

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "expected.json"

SHARED = [
    "--curriculum.stages=2", "--curriculum.epochs_first=1", "--curriculum.epochs_per_stage=2", "--curriculum.epochs=5",
    "--model.scratch.layers=2", "--model.scratch.heads=2", "--model.scratch.width=32", "--model.scratch.positions=128",
    "--model.scratch.dropout=0.0", "--model.scratch.initializer_range=0.1", "--train.batch_size=8", "--train.lr=0.003",
    "--train.max_new_tokens=12",
]  # fmt: skip
"""Five epochs of four updates each, so that every update has a log line of its own."""

RAGGED = ["--curriculum.number=per_example", "--curriculum.mix=0.5"]
LLAMA = ["--model.scratch.architecture=llama"]

CONFIGURATIONS: dict[str, tuple[str, list[str]]] = {
    "coconut": ("chains", ["--method=Coconut"]),
    "coconut_ragged": ("chains", ["--method=Coconut", *RAGGED]),
    "coconut_two_thoughts_per_step": (
        "chains", ["--method=Coconut", "--curriculum.thoughts_per_step=2", *RAGGED, *LLAMA],
    ),
    "coconut_accumulated": ("chains", ["--method=Coconut", *RAGGED, "--train.micro_batch=2"]),
    "coconut_bf16": ("chains", ["--method=Coconut", *RAGGED, "--train.precision=bf16"]),
    "coconut_sliding_window": (
        "chains",
        [
            "--method=Coconut", *RAGGED, "--model.scratch.architecture=gemma3_text",
            "--model.scratch.fields={sliding_window: 8}",
        ],
    ),
    "coconut_taught_with_muon": (
        "prosqa",
        [
            "--method=Coconut", *LLAMA, "--data.frontier=true", "--data.rename=true", "--data.reshuffle=true",
            "--train.thought_loss=1.0", "--train.optimizer=muon", "--curriculum.mix=0.5", "--curriculum.mix_from=all",
            "--train.clip=1.0",
        ],
    ),
    "cot": ("chains", ["--method=CoT"]),
    "icot": ("chains", ["--method=ICoT", "--method.tokens_per_epoch=8"]),
    "pause_as_thought": ("chains", ["--method=PauseAsThought", *RAGGED]),
    "pause_multipass": ("chains", ["--method=PauseMultipass", *RAGGED]),
}  # fmt: skip
"""By name: the data set (`data/NAME-train`, `NAME-valid`) and what the run says beyond `SHARED`."""


def run_configuration(name: str, folder: Path) -> dict[str, Any]:
    """Train a configuration and answer its validation questions through the command line.

    Returns `losses` and `grad_norms`, one of each per update, and `answers`, the text written for each question.
    """
    data, options = CONFIGURATIONS[name]
    train, valid = sorted((FOLDER / "data").glob(f"{data}-*"))
    run, predictions = folder / "run", folder / "predictions.jsonl"
    files = [f"--data.train={train}", f"--data.valid={valid}"]
    assert main(["train", "--run", str(run), *files, *SHARED, *options]) == 0
    assert main(["eval", str(run), "--data", str(valid), "--predictions", str(predictions)]) == 0
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    updates = [entry for entry in log if "loss" in entry]
    return {
        "losses": [entry["loss"] for entry in updates],
        "grad_norms": [entry["grad_norm"] for entry in updates],
        "answers": [json.loads(line)["text"] for line in predictions.read_text().splitlines()],
    }


def write_expected() -> None:
    """Run every configuration and write what it gave to `EXPECTED`."""
    expected = {}
    for name in CONFIGURATIONS:
        with tempfile.TemporaryDirectory() as folder:
            expected[name] = run_configuration(name, Path(folder))
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    write_expected()
