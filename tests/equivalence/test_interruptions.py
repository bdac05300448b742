"""A run that is cut at any point and continued ends with the same weights, log, best checkpoint and result."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from latentcot.config import DataConfig, ModelConfig, RunConfig, Scratch, TrainConfig
from latentcot.curriculum import Curriculum
from latentcot.data import chains, records
from latentcot.training import run as training_run
from latentcot.training import trainer as trainer_module
from latentcot.training.progress import Progress
from latentcot.training.run import train

EVENTS = ("train_begin", "epoch_begin", "step_begin", "step_end", "log", "evaluate", "save", "epoch_end", "train_end")
CLAIM = ".claim-*"
"""The lock, which a process that was killed does not hold; here it lives on."""

TIMES = {"seconds", "eval_seconds_per_example", "seconds_per_example", "waiting"}

CURRICULUM = Curriculum(stages=1, thoughts_per_step=2, epochs_first=1, epochs_per_stage=1, epochs=2)


class Cut(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("data")
    for name, examples in chains.make_splits({"train": 16, "valid": 2}, 0, hops=2).items():
        records.write(folder / f"{name}.json", examples)
    return DataConfig(train=str(folder / "train.json"), valid=str(folder / "valid.json"))


def settings(name: str, data: DataConfig) -> RunConfig:
    """Eight updates an epoch; the log has a line for every second one, and a checkpoint may lie between two."""
    config = RunConfig(
        curriculum=CURRICULUM,
        model=ModelConfig(scratch=Scratch("gpt2", layers=1, heads=2, width=16, positions=48)),
        data=data,
        train=TrainConfig(lr=0.01, batch_size=2, micro_batch=1, max_new_tokens=2, schedule="linear"),
    )
    if name == "without-validation":
        return replace(config, data=replace(data, valid=None), train=replace(config.train, save_steps=3))
    if name == "advance-at":  # The accuracies below end stage 0 after two epochs and the run after two more.
        curriculum = replace(CURRICULUM, epochs_first=4, epochs_per_stage=4, epochs=8, advance_at=0.5)
        return replace(config, curriculum=curriculum)
    if name == "before-the-last-stage":
        curriculum = replace(CURRICULUM, epochs_first=2, epochs=2, advance_at=1.0)
        return replace(config, curriculum=curriculum, train=replace(config.train, save_steps=5, keep_stages=True))
    return replace(config, train=replace(config.train, save_steps=5, keep_stages=True))


class Points:
    """Calls `at` after each event of the Trainer and each named checkpoint, and before the result is written."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at: Callable[[], None] = lambda: None
        keep, result = trainer_module.ThoughtTrainer.keep, training_run._result
        events = {f"on_{event}": self._after(getattr(Progress, f"on_{event}")) for event in EVENTS}
        watch = type("Watch", (Progress,), events)
        patch.setattr(training_run, "Progress", watch)
        patch.setattr(trainer_module.ThoughtTrainer, "keep", self._after(keep))
        patch.setattr(training_run, "_result", self._before(result))

    def _after(self, function: Callable[..., Any]) -> Callable[..., None]:
        def called(*args: Any, **kwargs: Any) -> None:
            function(*args, **kwargs)
            self.at()

        return called

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.at()
            return function(*args, **kwargs)

        return called


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Points:
    return Points(monkeypatch)


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy on validation by epoch, in place of a tiny model's."""
    validate = trainer_module.ThoughtTrainer.validate
    by_epoch = {1: 0.0, 2: 0.5, 3: 0.0, 4: 0.5}

    def validated(self: Any) -> dict[str, float]:
        return {**validate(self), "eval_accuracy": by_epoch[round(self.state.epoch)]}

    monkeypatch.setattr(trainer_module.ThoughtTrainer, "validate", validated)


def contents(run: Path) -> Iterator[tuple[str, Any]]:
    """What a run leaves, apart from times."""
    for line in (run / "log.jsonl").read_text().splitlines():
        yield "log", without_times(json.loads(line))
    yield "result", without_times(json.loads((run / "result.json").read_text()))
    for folder in sorted(path.parent for path in run.glob("*/model.safetensors")):
        yield folder.name, json.loads((folder / "config.json").read_text())["latentcot"]
        yield folder.name, {name: weight.tolist() for name, weight in load_file(folder / "model.safetensors").items()}


def without_times(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in entry.items() if name not in TIMES}
    return kept | ({"best": without_times(kept["best"])} if "best" in kept else {})


@pytest.mark.parametrize("name", ["validated", "without-validation", "advance-at", "before-the-last-stage"])
def test_a_cut_at_any_point_changes_nothing(
    name: str, data: DataConfig, tmp_path: Path, points: Points, accuracies: None
) -> None:
    """A run's folder is copied at every point, as a kill there would leave it, and each copy is continued."""
    config, run = settings(name, data), tmp_path / "whole"
    copies: dict[frozenset[Any], Path] = {}

    def copy() -> None:
        names = [
            file for file in run.rglob("*") if file.is_file() and not file.match(CLAIM) and file.name != "log.jsonl"
        ]
        files = frozenset((file.relative_to(run), file.read_bytes()) for file in names)
        if files not in copies:
            copies[files] = tmp_path / str(len(copies))
            shutil.copytree(run, copies[files], ignore=shutil.ignore_patterns(CLAIM))
        elif (run / "log.jsonl").exists():  # The same but for the log, which is ahead of the checkpoint.
            shutil.copy(run / "log.jsonl", copies[files])

    points.at = copy
    train(config, run)
    points.at = lambda: None
    whole = list(contents(run))
    assert len(copies) > 6
    for folder in copies.values():
        train(config, folder)
        assert list(contents(folder)) == whole, folder


def test_a_run_in_many_pieces_is_the_same(data: DataConfig, tmp_path: Path, points: Points, accuracies: None) -> None:
    """Cut again and again, a little later each time, it comes to an end, and to the same one."""
    config, run = settings("advance-at", data), tmp_path / "cut"
    train(config, tmp_path / "whole")
    pieces = seen = 0

    def cut() -> None:
        nonlocal seen
        seen += 1
        if seen == 28 + pieces:
            raise Cut

    points.at = cut
    while not (run / "result.json").exists():
        pieces, seen = pieces + 1, 0
        with suppress(Cut):
            train(config, run)
    assert pieces > 2
    assert list(contents(run)) == list(contents(tmp_path / "whole"))
