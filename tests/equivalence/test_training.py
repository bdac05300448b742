"""A run does not depend on how it was cut, into micro-batches or into pieces by an interruption."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentcot.checkpoint import load
from latentcot.cli import main
from latentcot.config import DataConfig, ModelConfig, RunConfig, Scratch, TrainConfig
from latentcot.core import UserError
from latentcot.curriculum import Curriculum
from latentcot.data import chains, records
from latentcot.evaluation.answers import evaluate
from latentcot.training import trainer as trainer_module
from latentcot.training.run import train

CURRICULUM = Curriculum(stages=2, epochs_first=1, epochs_per_stage=1, epochs=3, mix=0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("data")
    for name, examples in chains.make_splits({"train": 32, "valid": 5}, 0, hops=3).items():
        records.write(folder / f"{name}.json", examples)
    return DataConfig(train=folder / "train.json", valid=folder / "valid.json", reshuffle=True)


def config(data: DataConfig, dropout: float = 0.1, **train: Any) -> RunConfig:
    # GPT-2's bias on keys has no gradient but rounding, which Adam blows up; Llama has no biases.
    scratch = Scratch("llama" if not dropout else "gpt2", layers=1, heads=2, width=32, positions=64, dropout=dropout)
    # A large step, so that a small difference would show.
    defaults: dict[str, Any] = {"lr": 0.01, "batch_size": 8, "max_new_tokens": 6}
    return RunConfig(
        curriculum=CURRICULUM, model=ModelConfig(scratch=scratch), data=data, train=TrainConfig(**{**defaults, **train})
    )


def weights(run: Path, name: str = "best") -> dict[str, torch.Tensor]:
    return load_file(run / name / "model.safetensors")


def losses(run: Path) -> list[float]:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def assert_same(first: Path, second: Path, **tolerance: float) -> None:
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, **(tolerance or {"atol": 0.0, "rtol": 0.0}))


@pytest.mark.parametrize("thought_loss", [0.0, 0.5])
def test_accumulation_changes_nothing(thought_loss: float, data: DataConfig, tmp_path: Path) -> None:
    """8 x 1 equals 1 x 8, though targets differ in length from example to example, and thoughts in number."""
    train(config(data, dropout=0.0, thought_loss=thought_loss), tmp_path / "whole")
    train(config(data, dropout=0.0, thought_loss=thought_loss, micro_batch=1), tmp_path / "pieces")
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)
    assert_same(tmp_path / "whole", tmp_path / "pieces", atol=1e-3, rtol=1e-3)


class Interrupted(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("update", "save_steps"),
    [(2, 1), (4, None), (5, None), (7, 2), (8, None), (9, 1)],
    ids=["inside-an-epoch", "before-a-validation", "new-stage", "in-stage-1", "second-boundary", "in-stage-2"],
)
def test_an_interruption_changes_nothing(
    update: int,
    save_steps: int | None,
    optimizer: str,
    data: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Bit for bit, dropout, mixing, reshuffling and optimizer resets included. There are 4 updates an epoch."""
    settings = config(data, save_steps=save_steps, optimizer=optimizer)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(settings, whole)
    step = trainer_module.ThoughtTrainer.training_step

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == update:
            raise Interrupted
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ThoughtTrainer, "training_step", interrupted)
        with pytest.raises(Interrupted):
            train(settings, cut)
    torch.manual_seed(99)  # Nothing may hang on what the process did before.
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    train(settings, cut)
    assert_same(whole, cut)
    assert losses(whole) == losses(cut)
    assert not caplog.messages
    results = [json.loads((run / "result.json").read_text()) for run in (whole, cut)]
    assert results[0]["stages"] == results[1]["stages"]
    logged = [json.loads(line)["seconds"] for line in (cut / "log.jsonl").read_text().splitlines()]
    assert logged == sorted(logged)  # The clock goes on where the first piece had come to.
    assert results[1]["seconds"] == logged[-1]


def test_a_run_of_an_older_version_goes_on(data: DataConfig, tmp_path: Path) -> None:
    """Its saved configuration lacks the options that came since, which had no effect then as now."""
    result = train(config(data), tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    kept = [line for line in file.read_text().splitlines(keepends=True) if "beta2" not in line]
    file.write_text("".join(kept))
    assert train(config(data), tmp_path / "run") == result
    with pytest.raises(UserError, match=r"holds another run \(train.beta2 is 0.999 there and 0.9 here\)"):
        train(config(data, beta2=0.9), tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("reset", "expected"), [("stage", [4, 8]), (True, [4, 8]), ("epoch", [4, 8, 12]), ("never", []), (False, [])]
)
def test_the_optimizer_is_reset_when_the_curriculum_says(
    reset: Any, expected: list[int], optimizer: str, data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4 epochs of 4 updates each, the last two are one stage. Resuming inside an epoch resets nothing again."""
    curriculum = replace(CURRICULUM, epochs=4, reset_optimizer=reset)
    settings = replace(config(data, optimizer=optimizer, save_steps=1), curriculum=curriculum)
    without_state: list[int] = []
    step = trainer_module.ThoughtTrainer.training_step
    cuts = {1, 6, 14}

    def watched(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        update = self.state.global_step
        if update in cuts:
            cuts.remove(update)
            raise Interrupted
        if not self.optimizer.state:
            without_state.append(update)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer_module.ThoughtTrainer, "training_step", watched)
    for _ in range(len(cuts)):
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "run")
    train(settings, tmp_path / "run")
    assert without_state == [0, *expected]


@pytest.mark.parametrize(("old", "new", "other"), [("true", "stage", "never"), ("false", "never", "epoch")])
def test_a_run_that_says_yes_or_no_to_optimizer_resets_goes_on(
    old: str, new: Any, other: Any, data: DataConfig, tmp_path: Path
) -> None:
    """As the folders of earlier versions do."""
    settings = replace(config(data), curriculum=replace(CURRICULUM, reset_optimizer=new))
    result = train(settings, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace(f"reset_optimizer: {new}", f"reset_optimizer: {old}"))
    assert train(settings, tmp_path / "run") == result
    with pytest.raises(UserError, match=f"curriculum.reset_optimizer is '{new}' there and '{other}' here"):
        train(replace(settings, curriculum=replace(CURRICULUM, reset_optimizer=other)), tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])  # Llama and GPT-2.
def test_decay_pulls_at_what_it_is_told_to(
    dropout: float, optimizer: str, data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate of almost nothing, what an update changes is what decay pulls at: lr * decay of it."""
    for decay in ("all", "matrices"):
        kept: list[dict[str, torch.Tensor]] = []
        step = trainer_module.ThoughtTrainer.training_step

        def watched(self: Any, *args: Any, kept: Any = kept, step: Any = step, **kwargs: Any) -> torch.Tensor:
            kept.append({name: weight.detach().clone() for name, weight in self.model.named_parameters()})
            return step(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(trainer_module.ThoughtTrainer, "training_step", watched)
            settings = {"lr": 1e-9, "weight_decay": 1e8, "decay": decay, "beta2": 0.5, "optimizer": optimizer}
            train(config(data, dropout, **settings), tmp_path / decay)
        first, second = kept[:2]
        pulled = {name for name in first if first[name].any() and (second[name] / first[name]).median() < 0.95}
        matrices = {name for name in first if first[name].ndim > 1}
        filled = {name for name in first if first[name].any()}  # GPT-2's biases start as zeros.
        assert pulled == filled if decay == "all" else pulled == {name for name in matrices if not _is_embedding(name)}


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed_tokens", "wte", "wpe"))


def test_the_best_checkpoint_is_of_the_last_stage(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of equals the later one; stages before the last do not count, however good."""
    accuracy = {1: 0.9, 2: 0.8, 3: 0.2, 4: 0.6, 5: 0.6, 6: 0.4}
    kept: list[tuple[str, float]] = []
    monkeypatch.setattr(
        trainer_module.ThoughtTrainer,
        "validate",
        lambda self: {"eval_accuracy": accuracy[round(self.state.epoch)], "eval_tokens": 1.0},
    )
    monkeypatch.setattr(
        trainer_module.ThoughtTrainer, "keep", lambda self, name: kept.append((name, round(self.state.epoch)))
    )
    settings = replace(config(data), curriculum=replace(CURRICULUM, epochs=6))
    result = train(replace(settings, train=replace(settings.train, keep_stages=True)), tmp_path / "run")
    assert [epoch for name, epoch in kept if name == "best"] == [3, 4, 5]
    assert [epoch for name, epoch in kept if name == "stage-1"] == [2]
    assert result["best"]["accuracy"] == 0.6
    assert [stage["accuracy"] for stage in result["stages"]] == [0.9, 0.8, 0.4]


def test_a_stage_ends_when_it_is_learned(data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = {1: 0.5, 2: 1.0, 3: 1.0, 4: 0.9, 5: 1.0}
    monkeypatch.setattr(
        trainer_module.ThoughtTrainer,
        "validate",
        lambda self: {"eval_accuracy": accuracy[round(self.state.epoch)], "eval_tokens": 1.0},
    )
    curriculum = replace(CURRICULUM, epochs_first=9, epochs_per_stage=9, epochs=20, advance_at=1.0)
    result = train(replace(config(data), curriculum=curriculum), tmp_path / "run")
    assert result["updates"] == 20  # Two epochs of stage 0, one of stage 1, two of stage 2.
    assert [stage["accuracy"] for stage in result["stages"]] == [1.0, 1.0, 1.0]


def test_bf16_and_no_validation(data: DataConfig, tmp_path: Path) -> None:
    settings = config(replace(data, valid=None), precision="bf16")
    assert train(settings, tmp_path / "run")["best"] == {}
    assert weights(tmp_path / "run")


def test_pieces_of_a_run_fail_whole(data: DataConfig, tmp_path: Path) -> None:
    settings = replace(config(data), model=ModelConfig(scratch=Scratch(layers=1, heads=2, width=32, positions=20)))
    with pytest.raises(UserError, match=r"train\.json: record 1 needs"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_is_evaluated_as_it_was_validated(
    precision: str, data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`eval` of a run's best checkpoint on its validation set gives the answers and figures of that validation."""
    seen: list[Any] = []
    monkeypatch.setattr(
        trainer_module, "evaluate", lambda *args, **options: seen.append(evaluate(*args, **options)) or seen[-1]
    )
    result = train(config(data, precision=precision, lr=1e-3), tmp_path / "run")
    assert result["precision"] == precision
    valid, loaded = records.read(Path(str(data.valid))), load(tmp_path / "run")
    assert loaded.precision == precision
    again = evaluate(loaded, valid)
    assert again.predictions == seen[-1].predictions
    metrics = again.metrics()
    assert metrics["precision"] == precision
    assert {name: metrics[name] for name in ("accuracy", "tokens")} == {
        name: result["best"][name] for name in ("accuracy", "tokens")
    }


def test_precision_is_what_it_is_called(data: DataConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bf16 checkpoint's logits differ between the precisions; an option overrides its own, and the result says so."""
    run = tmp_path / "run"
    train(config(data, precision="bf16"), run)
    types: list[torch.dtype] = []
    loaded = load(run)
    layer = next(module for module in loaded.model.modules() if type(module).__name__ == "GPT2MLP")
    layer.register_forward_hook(lambda _, __, output: types.append(output.dtype))
    for precision, expected in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        types.clear()
        loaded.precision = precision
        evaluate(loaded, records.read(Path(str(data.valid))))
        assert set(types) == {expected}
    for words, stored in (([], "bf16"), (["--precision", "fp32"], "fp32")):
        file = tmp_path / f"{stored}.json"
        assert main(["eval", str(run), "--data", str(data.valid), "--json", str(file), *words]) == 0
        assert json.loads(file.read_text())["precision"] == stored
        assert f"precision            {stored}" in capsys.readouterr().out
    # A checkpoint of an earlier version does not say, and was evaluated in fp32. It has no manifest.
    (run / "best" / "manifest.json").unlink()
    block = json.loads((run / "best" / "config.json").read_text())
    del block["latentcot"]["precision"]
    (run / "best" / "config.json").write_text(json.dumps(block))
    assert load(run).precision == "fp32"
