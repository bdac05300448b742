"""Every verb as a user calls it, in one small run that all tests share."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from latentcot.cli import main
from latentcot.data import records

SMALL = [
    "--curriculum.stages=2", "--curriculum.epochs_first=1", "--curriculum.epochs_per_stage=1", "--curriculum.epochs=3",
    "--model.scratch.layers=1", "--model.scratch.heads=2", "--model.scratch.width=32", "--model.scratch.positions=64",
    "--train.batch_size=16", "--train.max_new_tokens=8", "--train.lr=0.001",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--train=32", "--valid=4", "--test=6", "--hops=2", "--seed=7"]
    assert main(["data", "make", "chains", "--out", str(folder), *sizes]) == 0
    return folder


def train(data: Path, run: Path, *more: str) -> int:
    files = [f"--data.train={data / 'train.json'}", f"--data.valid={data / 'valid.json'}"]
    return main(["train", "--run", str(run), *files, *SMALL, *more])


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "coconut"
    assert train(data, folder) == 0
    return folder


def test_data_make_is_reproducible_and_keeps_what_is_there(data: Path, tmp_path: Path) -> None:
    sizes = ["--train=32", "--valid=4", "--test=6", "--hops=2", "--seed=7"]
    assert main(["data", "make", "chains", "--out", str(tmp_path), *sizes]) == 0
    for name in ("train.json", "valid.json", "test.json"):
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes()
    assert main(["data", "make", "chains", "--out", str(tmp_path), *sizes[:-1], "--seed=8"]) == 2
    assert (tmp_path / "train.json").read_bytes() == (data / "train.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("prosqa", []),
        ("prosqa", ["--hops-min=7", "--hops-max=7", "--parents=1.6", "--entities=3"]),
        ("prontoqa", []),
        ("prontoqa", ["--hops=8"]),
    ],
)
def test_data_that_is_made_is_sound(
    name: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--train=30", "--valid=5", "--test=5"]
    assert main(["data", "make", name, "--out", str(tmp_path), *sizes, *options]) == 0
    files = [str(tmp_path / f"{name}.json") for name in ("train", "valid", "test")]
    assert main(["data", "check", *files]) == 0
    assert "30 records" in capsys.readouterr().out


def test_train_writes_a_run(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert [stage["thoughts"] for stage in result["stages"]] == [0, 1, 2]
    assert result["row"] == "coconut"
    assert result["updates"] == 6
    assert (run / "best" / "model.safetensors").is_file()
    assert not list((run / "best").glob("*.bin"))
    assert "sha256" in (run / "config.yaml").read_text()


def test_the_same_command_returns_the_finished_run(data: Path, run: Path) -> None:
    before = (run / "log.jsonl").read_bytes()
    assert train(data, run) == 0
    assert (run / "log.jsonl").read_bytes() == before


def test_another_run_is_refused_and_nothing_changes(data: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train(data, run, "--seed=5") == 2
    assert "seed is 0 there and 5 here" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_validation_on_what_is_trained_on_is_refused_or_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = f"--data.valid={data / 'train.json'}"
    assert train(data, tmp_path / "run", again) == 2
    assert "data.valid: all 32 questions of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(data, tmp_path / "run", again, "--data.train_limit=16", "--curriculum.epochs=3") == 0
    said = "16 training records; 16 of 32 validation questions are among them, the first is record 1, '"
    assert said in capsys.readouterr().out


def test_validation_on_what_is_trained_on_is_told_by_its_questions(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Facts in another order, other steps: the same questions."""
    trained, rng = records.read(data / "train.json"), random.Random(0)
    again = [replace(one, question=f" {records.reshuffle_facts(one.question, rng)}", steps=()) for one in trained]
    records.write(tmp_path / "again.json", again)
    assert train(data, tmp_path / "run", f"--data.valid={tmp_path / 'again.json'}") == 2
    assert "data.valid: all 32 questions of" in capsys.readouterr().err


def test_eval_says_what_was_trained_on(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = f"--data=[{data / 'test.json'}, {data / 'train.json'}]"
    for more, said, count in (
        ([sources], "note: 32 of 38 questions (the first is record 7, '", 32),
        ([sources, "--limit=6"], "", 0),
    ):
        out = tmp_path / f"{count}.json"
        assert main(["eval", str(run), *more, f"--json={out}"]) == 0
        assert json.loads(out.read_text())["trained_on"] == count
        errors = capsys.readouterr().err
        assert said in errors
        assert ("note: " in errors) == bool(said)


def test_eval_of_a_run_whose_data_is_gone_says_so(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "best", tmp_path / "copy")
    out = tmp_path / "out.json"
    assert main(["eval", str(tmp_path / "copy"), "--data", str(data / "test.json"), f"--json={out}"]) == 0
    assert json.loads(out.read_text())["trained_on"] is None
    assert "note: whether these questions were trained on is unknown (" in capsys.readouterr().err


def test_eval_writes_the_promised_fields(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = ["eval", str(run), "--data", str(data / "test.json"), "--json", str(out)]
    assert main([*command, "--batch-size=4", "--predictions", str(tmp_path / "p.jsonl")]) == 0
    metrics = json.loads(out.read_text())
    assert {"n", "accuracy", "tokens", "thoughts", "seconds_per_example"} <= metrics.keys()
    assert metrics["n"] == 6
    assert metrics["thoughts"] == 2
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert sum(line["correct"] for line in lines) == metrics["accuracy"] * 6
    assert main([*command, "--thoughts=1"]) == 0
    assert json.loads(out.read_text())["thoughts"] == 1


def test_eval_replaces_no_result_on_other_data(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main(["eval", str(run), "--data", str(data / "test.json"), "--json", str(out)]) == 0
    assert str(out) in capsys.readouterr().out.splitlines()[-1]
    before = out.read_bytes()
    assert main(["eval", str(run), "--data", str(data / "valid.json"), "--json", str(out)]) == 2
    assert "holds something else than a result on this data" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_generate_answers_and_streams(data: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = records.read(data / "test.json")[0].question
    assert main(["generate", str(run), question, "--thoughts=2"]) == 0
    plain = capsys.readouterr().out
    assert main(["generate", str(run), question, "--thoughts=2", "--stream"]) == 0
    assert capsys.readouterr().out.split() == plain.split()
    assert main(["generate", str(run), question, question, "--sample", "--temperature=2", "--seed=1"]) == 0
    assert capsys.readouterr().out


def test_a_trained_checkpoint_is_a_base_for_another_row(data: Path, run: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path / "cot", "--method=CoT", f"--model.base={run}", "--curriculum.epochs=1") == 0
    assert json.loads((tmp_path / "cot" / "result.json").read_text())["best"]["thoughts"] == 0


def test_a_row_of_the_users_own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rows.py").write_text(
        "from dataclasses import dataclass\n"
        "from latentcot.methods import Coconut\n"
        "@dataclass(frozen=True)\n"
        "class Impatient(Coconut):\n"
        "    skip: int = 1\n"
        "    def plan(self, curriculum, longest):\n"
        "        return super().plan(curriculum, longest)[self.skip:]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert train(data, tmp_path / "run", "--method=my_rows.Impatient", "--method.skip=2") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["row"] == "impatient"
    assert [stage["thoughts"] for stage in result["stages"]] == [2]
    assert main(["eval", str(tmp_path / "run"), "--data", str(data / "test.json")]) == 0


def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path) -> None:
    """As of `latentcot ... | head -1`."""
    command = [sys.executable, "-m", "latentcot", "data", "make", "chains", "--out", str(tmp_path), "--train=5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141
