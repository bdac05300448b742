"""A run goes on from the newest sound checkpoint, whatever happened to its folder, and ends as one without a break."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from latentcot.config import DataConfig, ModelConfig, RunConfig, Scratch, TrainConfig, to_mapping
from latentcot.core import UserError
from latentcot.curriculum import Curriculum
from latentcot.data import chains, records
from latentcot.files import read_object
from latentcot.runs.claims import claim
from latentcot.runs.folder import RunFolder
from latentcot.runs.manifest import MANIFEST
from latentcot.training import opening
from latentcot.training import trainer as trainer_module
from latentcot.training.run import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("data")
    for name, examples in chains.make_splits({"train": 24, "valid": 3}, 0, hops=2).items():
        records.write(folder / f"{name}.json", examples)
    return DataConfig(train=str(folder / "train.json"), valid=str(folder / "valid.json"))


def config(data: DataConfig, epochs: int = 2, **train: Any) -> RunConfig:
    """Three updates an epoch, one epoch a stage, dropout."""
    scratch = Scratch("gpt2", layers=1, heads=2, width=16, positions=64, dropout=0.1)
    settings: dict[str, Any] = {"lr": 0.01, "batch_size": 8, "max_new_tokens": 4, "save_steps": 1, **train}
    curriculum = Curriculum(stages=1, epochs_first=1, epochs_per_stage=1, epochs=epochs)
    return RunConfig(
        curriculum=curriculum, model=ModelConfig(scratch=scratch), data=data, train=TrainConfig(**settings)
    )


class Interrupted(Exception):
    """Stands for a power cut."""


def train_until(update: int, settings: RunConfig, run: Path) -> None:
    """Train until just before an update; there are checkpoints of the two updates before."""
    step = trainer_module.ThoughtTrainer.training_step

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step == update:
            raise Interrupted
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module.ThoughtTrainer, "training_step", interrupted)
        with pytest.raises(Interrupted):
            train(settings, run)


@pytest.fixture(scope="module")
def whole(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train(config(data), run)
    return run


@pytest.fixture(scope="module")
def cut(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interrupted in the second epoch, with checkpoints of updates 4 and 5."""
    run = tmp_path_factory.mktemp("cut") / "run"
    train_until(5, config(data), run)
    assert names(run / "resume") == ["checkpoint-4", "checkpoint-5"]
    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(first: Path, second: Path) -> None:
    """Bit for bit the same best checkpoint and result, but for times."""
    for name, tensor in load_file(first / "best" / "model.safetensors").items():
        assert torch.equal(tensor, load_file(second / "best" / "model.safetensors")[name])
    results = [json.loads((run / "result.json").read_text()) for run in (first, second)]
    assert results[0]["stages"] == results[1]["stages"]
    assert results[0]["updates"] == results[1]["updates"]


def test_a_finished_run_holds_what_it_says_and_no_more(whole: Path) -> None:
    assert names(whole) == ["best", "config.yaml", "environment.json", "log.jsonl", "result.json", "resume"]
    assert names(whole / "resume") == ["checkpoint-5", "checkpoint-6"]
    assert (whole / "best" / MANIFEST).is_file()


def test_killed_at_random_moments_it_ends_as_without_a_break(data: DataConfig, whole: Path, tmp_path: Path) -> None:
    """No piece has to wait for the lock of a killed one, and nothing that one left half-written stays."""
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(to_mapping(config(data))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, str(ROOT / "tests" / "equivalence" / "killed.py"), str(recipe), str(run), "4", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    ends = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("operation")]
    assert ends[:4] == ["-9"] * 4, done.stdout + done.stderr
    assert ends[-1] == "0", done.stdout + done.stderr
    assert set(ends) <= {"-9", "0"}, done.stdout + done.stderr  # A run may be finished before its last kill.
    assert_same(whole, run)
    assert names(run) == names(whole)
    assert names(run / "resume") == names(whole / "resume")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "zeros at its end": lambda file: file.write_bytes(file.read_bytes() + bytes(8)),
    "flipped": flip,
}
PARTS = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", MANIFEST)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage: str, cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PARTS:
        run = shutil.copytree(cut, tmp_path / name)
        DAMAGES[damage](run / "resume" / "checkpoint-5" / name)
        found = RunFolder(run).last_checkpoint()
        printed = capsys.readouterr().out
        if (name, damage) == (MANIFEST, "missing"):  # As earlier versions wrote it; its parts are sound.
            assert found == run / "resume" / "checkpoint-5"
        else:
            assert found == run / "resume" / "checkpoint-4"
            assert printed.count("\n") == 1
            assert f"checkpoint-5: damaged ({name}" in printed
        if name != MANIFEST:
            DAMAGES[damage](run / "resume" / "checkpoint-4" / name)
            with pytest.raises(UserError, match="every checkpoint in it is damaged"):
                RunFolder(run).last_checkpoint()
            capsys.readouterr()


@pytest.mark.parametrize("damage", DAMAGES)
def test_checkpoints_of_earlier_versions_are_looked_into(damage: str, cut: Path, tmp_path: Path) -> None:
    """They have no manifest. PyTorch's files have check sums for what they hold, and not for what lies between."""
    unseen = {("flipped", "model.safetensors"), ("flipped", "scheduler.pt"), ("flipped", "trainer_state.json")}
    unseen |= {("zeros at its end", name) for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")}
    for name in PARTS[:-1]:
        run = shutil.copytree(cut, tmp_path / name)
        for manifest in run.glob(f"resume/*/{MANIFEST}"):
            manifest.unlink()
        assert RunFolder(run).last_checkpoint() == run / "resume" / "checkpoint-5"
        DAMAGES[damage](run / "resume" / "checkpoint-5" / name)
        if (damage, name) not in unseen:
            assert RunFolder(run).last_checkpoint() == run / "resume" / "checkpoint-4", name


def test_from_the_checkpoint_before_it_ends_as_without_a_break(
    data: DataConfig, cut: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(cut, tmp_path / "run")
    flip(run / "resume" / "checkpoint-5" / "optimizer.pt")
    leftovers = [".log.jsonl.123.tmp", ".result.json.123-0123456789abcdef.tmp", "best.partial", ".best.1-ab.tmp"]
    for name in leftovers:
        (run / name).mkdir() if "best" in name else (run / name).touch()
    (run / "resume" / ".checkpoint-6.0123456789abcdef.tmp").mkdir()
    (run / ".mine.tmp").touch()
    (run / "log.jsonl").write_bytes(bytes(100))
    train(config(data), run)
    assert "goes on after update 4" in capsys.readouterr().out
    assert_same(whole, run)
    assert names(run) == sorted([*names(whole), ".mine.tmp"])
    assert names(run / "resume") == names(whole / "resume")
    assert len((run / "log.jsonl").read_text().splitlines()) == len((whole / "log.jsonl").read_text().splitlines())


def test_checkpoints_are_kept_by_number_whatever_the_clock_says(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set back by a day before every checkpoint, so that each is older than those before it."""
    keep = RunFolder.keep_to_resume

    def kept(self: RunFolder, draft: Path, update: int) -> None:
        keep(self, draft, update)
        past = time.time() - 86400 * update
        os.utime(self.resume / f"checkpoint-{update}", (past, past))

    monkeypatch.setattr(RunFolder, "keep_to_resume", kept)
    train(config(data), tmp_path / "run")
    assert names(tmp_path / "run" / "resume") == ["checkpoint-5", "checkpoint-6"]


def test_the_second_of_two_trainings_is_refused_by_name(data: DataConfig, cut: Path, tmp_path: Path) -> None:
    run = shutil.copytree(cut, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with (
        claim(run),
        pytest.raises(UserError, match=rf"run: process {os.getpid()} on .* works on this run: wait for it"),
    ):
        train(config(data), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_who_has_lost_the_lock_writes_nothing_more(
    data: DataConfig, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As workers left over from a launch that was killed, once the folder is another launch's."""
    run = shutil.copytree(cut, tmp_path / "run")
    step, seen = trainer_module.ThoughtTrainer.training_step, dict[Path, bytes]()

    def robbed(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        (run / ".claim-1").unlink()
        (run / ".claim-2").write_text("{}")
        seen.update({path: path.read_bytes() for path in run.rglob("*") if path.is_file()})
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer_module.ThoughtTrainer, "training_step", robbed)
    with pytest.raises(UserError, match="the lock of this process on it is gone"):
        train(config(data), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == seen


@pytest.mark.parametrize("room", [500, 20_000])
def test_a_full_disk_is_one_line_and_loses_nothing(
    room: int, data: DataConfig, cut: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands for it: none of a checkpoint's fits, or all but its largest ones."""
    run = shutil.copytree(cut, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("checkpoint-*/*")}
    step, limits = trainer_module.ThoughtTrainer.training_step, resource.getrlimit(resource.RLIMIT_FSIZE)

    def filled(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ThoughtTrainer, "training_step", filled)
        try:
            with pytest.raises(UserError, match="cannot be written") as refused:
                train(config(data), run)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in run.rglob("checkpoint-*/*")} == before
    train(config(data), run)
    assert_same(whole, run)


def test_what_changes_no_update_makes_no_other_run(data: DataConfig, cut: Path, whole: Path, tmp_path: Path) -> None:
    """Data elsewhere with the same records, and options of speed, memory and what is kept."""
    run, moved = shutil.copytree(cut, tmp_path / "run"), tmp_path / "moved.json"
    shutil.copy(str(data.train), moved)
    settings = config(replace(data, train=[str(moved)]), save_steps=None, keep_stages=True, eval_batch_size=1)
    train(settings, run)
    assert_same(whole, run)
    assert (run / "stage-1").is_dir()
    for changed in (config(data, lr=0.02), replace(config(data), seed=1), config(replace(data, reshuffle=True))):
        with pytest.raises(UserError, match="holds another run"):
            train(changed, run)
    records.write(moved, records.read(moved)[1:])
    with pytest.raises(UserError, match=r"its data's sha256\.train is"):
        train(settings, run)


def test_more_epochs_go_on_with_a_finished_run(data: DataConfig, whole: Path, tmp_path: Path) -> None:
    run, longer = shutil.copytree(whole, tmp_path / "run"), config(data, epochs=3)
    train(longer, tmp_path / "three")
    train(longer, run)
    assert_same(tmp_path / "three", run)
    with pytest.raises(UserError, match=r"curriculum\.epochs is 3 there and 2 here"):
        train(config(data), run)
    shutil.rmtree(run / "resume")
    with pytest.raises(UserError, match=r"more epochs need .*resume, which is gone"):
        train(config(data, epochs=4), run)
    assert train(longer, run)["updates"] == 9
    with pytest.raises(UserError, match="holds another run"):
        train(config(data, epochs=4, schedule="linear"), run)


def test_what_a_run_uses_is_recorded_and_a_change_is_told(
    data: DataConfig, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums are split among threads, so their last digits are others."""
    run = shutil.copytree(cut, tmp_path / "run")
    (piece,) = json.loads((run / "environment.json").read_text())["pieces"]
    expected = {"from_update": 0, "threads": 1, "processes": 1, "device": "cpu", "precision": "fp32"}
    assert {name: piece[name] for name in expected} == expected
    assert piece["torch"] == torch.__version__
    assert {"latentcot", "python", "transformers", "accelerate", "machine"} <= piece.keys()
    monkeypatch.setattr(opening.torch, "get_num_threads", lambda: 2)
    train(config(data), run)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert told == ["warning: 1 threads before, 2 now: the run goes on, but not bit for bit as without the break"]
    pieces = json.loads((run / "environment.json").read_text())["pieces"]
    assert [(piece["from_update"], piece["threads"]) for piece in pieces] == [(0, 1), (5, 2)]


@pytest.mark.parametrize(
    "leftovers", [[], [".config.yaml.12.tmp"], [".config.yaml.12-0123456789abcdef.tmp", "resume/"]]
)
def test_a_folder_that_a_process_left_at_its_very_start_is_new(leftovers: list[str], tmp_path: Path) -> None:
    for name in leftovers:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    folder = RunFolder(tmp_path)
    assert folder.read_config() is None
    folder.sweep()
    assert names(tmp_path) == ["resume"] * ("resume/" in leftovers)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="holds files that are no run's"):
        folder.read_config()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff\xfe", bytes(50), b"1: 2", b"{}"])
@pytest.mark.parametrize("name", ["config.yaml", "result.json", "environment.json"])
def test_a_damaged_file_of_the_run_is_named(
    name: str, content: bytes, data: DataConfig, whole: Path, tmp_path: Path
) -> None:
    """Only in the environment an empty object is nothing wrong; only in YAML is `1: 2` an object."""
    run = shutil.copytree(whole, tmp_path / "run")
    if name == "environment.json":
        (run / "result.json").unlink()
    (run / name).write_bytes(content)
    folder, wanted = RunFolder(run), {**to_mapping(config(data)), "sha256": {"train": "x"}}
    if name == "config.yaml":
        with pytest.raises(UserError, match=r"config\.yaml: |holds another run"):
            folder.finished(wanted)
        return
    with claim(run) as folder.claim:
        if name == "result.json":
            with pytest.raises(UserError, match=r"result\.json: .*remove"):
                folder.finished({**read_object(folder.config, "")})
        elif content != b"{}":
            with pytest.raises(UserError, match=r"environment\.json: .*remove it"):
                folder.record_environment({"threads": 1}, 3)
