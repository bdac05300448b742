"""A run whose loss, gradient or weights are no longer finite stops, and what it has saved stays as it was."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcot.core import UserError
from latentcot.training import trainer as trainer_module
from latentcot.training.run import train
from tests.equivalence.test_training import config, data

__all__ = ["data"]

SETTINGS = {
    "plain": {},
    "accumulated": {"micro_batch": 2},
    "bf16": {"precision": "bf16"},
    "muon": {"optimizer": "muon", "micro_batch": 4},
    "clipped": {"clip": 1.0},
}


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def saved(run: Path) -> dict[Path, bytes]:
    """All that a run could go on from, or be evaluated with."""
    files = [file for file in run.rglob("*") if file.is_file() and file.name != "log.jsonl"]
    # The lock is there while the run goes on.
    return {file: file.read_bytes() for file in files if not file.name.startswith(".claim")}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("fault", ["weight", "loss", "gradient"])
def test_a_fault_in_the_last_stage_stops_the_run(
    name: str, fault: str, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From update 14 on, in the second epoch of the last stage, something is not finite."""
    settings = config(data, save_steps=1, **SETTINGS[name])
    settings = replace(settings, curriculum=replace(settings.curriculum, epochs=5))
    run, before = tmp_path / "run", {}
    step, loss = trainer_module.ThoughtTrainer.training_step, trainer_module.target_loss

    def at_fault(trainer: Any) -> bool:
        return bool(trainer.state.global_step == 13)

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if at_fault(self):
            before.update(before or saved(run))
            if fault == "weight":
                with torch.no_grad():
                    next(self.model.parameters())[0, 0] = math.nan
            if fault == "loss":
                monkeypatch.setattr(trainer_module, "target_loss", lambda *each: loss(*each) * math.inf)
            if fault == "gradient":  # The root of 0 is 0, and its slope is infinite.
                monkeypatch.setattr(
                    trainer_module,
                    "target_loss",
                    lambda logits, labels: loss(logits, labels) + (0 * logits).sum().sqrt(),
                )
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer_module.ThoughtTrainer, "training_step", training_step)
    with pytest.raises(UserError, match=r"training has diverged: the .* at update 14 \(stage 2, learning rate 0.01\)"):
        train(settings, run)
    assert before
    assert saved(run) == before
    assert not (run / "result.json").exists()
    assert [entry["step"] for entry in logged(run) if "loss" in entry] == list(range(1, 14))
    assert all(math.isfinite(value) for entry in logged(run) for value in entry.values())


@pytest.mark.parametrize("name", ["plain", "muon"])
def test_a_learning_rate_without_measure(name: str, data: Any, tmp_path: Path) -> None:
    """The first update makes weights of 1e30, and the second one's gradient is not finite."""
    with pytest.raises(UserError, match=r"diverged: .* at update [12] \(stage 0, learning rate 1e\+30\)"):
        train(config(data, **{**SETTINGS[name], "lr": 1e30}), tmp_path / "run")
    assert not (tmp_path / "run" / "best").exists()
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_weights_are_looked_at_before_they_are_saved(data: Any, tmp_path: Path) -> None:
    """The epoch's last update, of finite loss and gradient, makes weights that overflow."""
    with pytest.raises(UserError, match=r"the norm of the weights is inf at update 1 "):
        train(config(data, lr=1e30, batch_size=32), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.safetensors"))
