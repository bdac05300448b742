"""`latentcot table` on tiny settings: whole, interrupted, shared by two processes, and refused."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentcot.cli import main
from latentcot.data import records
from latentcot.data.records import reshuffle_facts
from latentcot.runs.claims import is_claimed
from latentcot.runs.owner import this_process
from latentcot.table.cells import plan
from latentcot.table.recipe import read_table
from latentcot.training import trainer as trainer_module

BASE = {
    "curriculum": {"stages": 1, "epochs_first": 1, "epochs_per_stage": 1, "epochs": 2},
    "model": {"scratch": {"layers": 1, "heads": 2, "width": 16, "positions": 64}},
    "data": {"train": "data/train.json", "valid": "data/valid.json"},
    "train": {"batch_size": 16, "max_new_tokens": 8, "lr": 0.01},
}
TABLE = {
    "seeds": [0, 1],
    "rows": {"coconut": {"method": "Coconut"}, "cot": {"method": "CoT"}},
    "datasets": {
        "chains": {
            "recipe": "tiny.yaml",
            "test": "data/test.json",
            "start_from": {"coconut": "cot"},
            "published": "prosqa",
        }
    },
}
CELLS = [f"chains/{row}/seed-{seed}" for seed in (0, 1) for row in ("cot", "coconut")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, recipe and table recipe."""
    folder = tmp_path_factory.mktemp("table")
    sizes = ["--train=32", "--valid=4", "--test=6", "--hops=2", "--seed=7"]
    assert main(["data", "make", "chains", f"--out={folder / 'data'}", *sizes]) == 0
    (folder / "tiny.yaml").write_text(yaml.safe_dump(BASE))
    (folder / "table.yaml").write_text(yaml.safe_dump(TABLE))
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own with them, which is the current one."""
    (tmp_path / "data").symlink_to(template / "data")
    for name in ("tiny.yaml", "table.yaml"):
        (tmp_path / name).write_bytes((template / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(template: Path) -> Path:
    """The finished table."""
    before = Path.cwd()
    os.chdir(template)
    try:
        assert main(["table", "table.yaml", "--run=whole"]) == 0
    finally:
        os.chdir(before)
    return template / "whole"


def entries(folder: Path, *, timed: bool = False) -> list[dict[str, Any]]:
    """What table.json says, without what differs from time to time."""
    found: list[dict[str, Any]] = json.loads((folder / "table.json").read_text())["entries"]
    if not timed:
        for entry in found:
            for each in (entry, *entry["runs"]):
                each.pop("seconds_per_example")
                each.pop("training_seconds", None)
    return found


def change(**changes: Any) -> None:
    """Write the table recipe anew with other keys."""
    Path("table.yaml").write_text(yaml.safe_dump({**TABLE, **changes}))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["table", "table.yaml", "--run=run", *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_whole_table(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "chains", "table.yaml", "table.md", "table.csv", "table.json", "table.tex", "table.png", "table.svg",
    }  # fmt: skip
    assert [entry["row"] for entry in entries(whole)] == ["coconut", "cot"]
    hashes = {
        name: records.digest(records.read(whole.parent / "data" / f"{name}.json"))
        for name in ("train", "valid", "test")
    }
    for entry in entries(whole):
        assert [run["seed"] for run in entry["runs"]] == [0, 1]
        for run in entry["runs"]:
            config = yaml.safe_load((whole / run["run"] / "config.yaml").read_text())
            assert config["seed"] == run["seed"]
            assert run["sha256"] == hashes
            assert run["code"].startswith("0.1.0")
            assert run["n"] == 6
            assert run["threads"] == [1]
            assert run["right"] == run["accuracy"] * 6
            assert [stage["stage"] for stage in run["stages"]] == ([0, 1] if entry["row"] == "coconut" else [0])
            assert run["thoughts"] == (1 if entry["row"] == "coconut" else 0)
            assert (config["model"]["base"] is not None) == (run["start"] == "cot") == (entry["row"] == "coconut")
            assert not (whole / run["run"] / "resume").exists()
    assert entries(whole)[0]["published"] == {"accuracy": 0.97, "sd": 0.003, "tokens": 14.2}


def test_all_forms_agree(whole: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((whole / "table.csv").read_text())))
    tex, page = (whole / "table.tex").read_text(), (whole / "table.md").read_text()
    for row, entry in zip(rows, entries(whole, timed=True), strict=True):
        assert row["row"] == entry["row"]
        for name in ("accuracy", "sd", "tokens", "thoughts", "seconds_per_example"):
            assert float(row[name]) == entry[name]
        assert [float(row["low"]), float(row["high"])] == entry["interval"]
        assert row["runs"].split() == [run["run"] for run in entry["runs"]]
        accuracy = f"{100 * entry['accuracy']:.1f} ± {100 * entry['sd']:.1f}"
        assert f"{row['row']} & {accuracy.replace('±', '$' + chr(92) + 'pm$')} & {entry['tokens']:.1f} " in tex
        assert re.search(rf"^\| {row['row']} \| 2 \| {accuracy} \|.*\| {entry['tokens']:.1f} \|", page, re.MULTILINE)
        for run in entry["runs"]:
            assert f"| {run['run']} | {run['seed']} | {run['right']} | 6 |" in page


def test_an_interrupted_table_goes_on(home: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 4 updates in a run: the break is inside the third run."""
    step, calls = trainer_module.ThoughtTrainer.training_step, []

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ThoughtTrainer, "training_step", interrupted)
        assert main(["table", "table.yaml", "--run=whole"]) == 130
    assert not any(is_claimed(home / "whole" / cell) for cell in CELLS)
    # A process that was killed leaves its claim.
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    (home / "whole" / CELLS[2] / ".claim-1").write_text(json.dumps({**this_process(), "process": killed.pid}))

    before = {path: path.read_bytes() for path in home.rglob("test.json")}
    assert len(before) == 2
    assert main(["table", "table.yaml", "--run=whole"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert entries(home / "whole") == entries(whole)


@pytest.mark.usefixtures("home")
def test_two_processes_share_a_table(home: Path, whole: Path) -> None:
    command = [sys.executable, "-m", "latentcot", "table", "table.yaml", "--run=whole"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pair = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=240)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(printed)
    trained = [line.split(":")[0] for text in printed for line in text.splitlines() if ": done, " in line]
    assert sorted(trained) == sorted(CELLS)
    assert entries(home / "whole") == entries(whole)
    assert not list(home.rglob(".claim-*"))


def test_several_jobs_and_one_that_fails(
    home: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are done all the same, and what starts from the failed one is not tried."""
    rows: dict[str, Any] = {**TABLE["rows"], "icot": {"method": "ICoT"}, "bad": {"method": "CoT"}}  # type: ignore[dict-item]
    rows["bad"]["model"] = {"scratch": {"positions": 10}}
    chains = {**TABLE["datasets"]["chains"], "start_from": {"icot": "bad"}}  # type: ignore[index]
    change(seeds=[0], rows=rows, datasets={"chains": chains})
    line = refused(capsys, "--jobs=2")
    assert "chains/bad/seed-0 failed" in line
    assert "record 1 needs" in line
    assert "1 more" in line
    assert [entry["row"] for entry in entries(home / "run")] == ["coconut", "cot"]
    assert entries(home / "run")[1]["runs"] == entries(whole)[1]["runs"][:1]
    assert not list(home.rglob(".claim-*"))


def test_only_some_cells(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "table.yaml", "--run=run", "--only=row=coconut,seed=1"]) == 0
    assert "chains/coconut/seed-1: starts from the best checkpoint of chains/cot/seed-1" in capsys.readouterr().out
    assert sorted(str(path.parent.relative_to(home / "run")) for path in home.rglob("test.json")) == [
        "chains/coconut/seed-1", "chains/cot/seed-1",
    ]  # fmt: skip
    one = entries(home / "run")[0]
    assert one["sd"] is None
    assert one["interval"] == one["pooled"]
    for only, said in [("row=cto", "no row cto"), ("rows=cot", "is none of"), ("row", "is none of")]:
        assert said in refused(capsys, f"--only={only}")


@pytest.mark.usefixtures("home")
def test_a_dry_run_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.rglob("*"))
    assert main(["table", "table.yaml", "--run=run", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["measuring chains/coconut", "measuring chains/cot"]
    assert "left: 4 runs" in printed.out
    assert "MB to keep" in printed.out
    assert sorted(home.rglob("*")) == before


def test_other_data_and_other_options_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "table.yaml", "--run=run", "--only=row=cot,seed=0"]) == 0
    before = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    change(options={"train": {"lr": 0.5}})
    assert "run/chains/cot/seed-0: holds another run (train.lr is" in refused(capsys)
    change(seeds=[0, 1, 2])  # More of the same is no other table.
    assert main(["table", "table.yaml", "--run=run", "--only=row=cot,seed=0"]) == 0
    after = {path: path.read_bytes() for path in (home / "run").rglob("*") if path.is_file()}
    assert {path for path in before if after[path] != before[path]} == {home / "run" / "table.yaml"}


def test_a_process_that_begins_at_the_same_time_is_no_fault(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run" / ".table.yaml.1.tmp").write_text("")
    assert main(["table", "table.yaml", "--run=run", "--only=row=cot,seed=0"]) == 0


def test_only_needs_no_data_of_what_it_leaves_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chains: Any = TABLE["datasets"]
    elsewhere = {**chains["chains"], "test": "none.json", "options": {"data": {"train": "no.json", "valid": "no.json"}}}
    change(datasets={**chains, "far": elsewhere})
    only = "--only=row=cot,dataset=chains,seed=0"
    assert main(["table", "table.yaml", "--run=run", only, "--dry-run"]) == 0
    assert main(["table", "table.yaml", "--run=run", only]) == 0
    assert [entry["dataset"] for entry in entries(home / "run")] == ["chains"]
    assert "table.yaml: datasets.far: no.json: no such file" in refused(capsys)


def test_a_test_file_with_unknown_words_is_refused_before_training(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "other.json").write_text('[{"question": "Is Tom a wumpus?", "steps": [], "answer": "yes"}]')
    change(datasets={"chains": {**TABLE["datasets"]["chains"], "test": "other.json"}})  # type: ignore[index]
    assert "other.json: 'Is', 'Tom'" in refused(capsys, "--only=row=cot,seed=0")
    assert not (home / "run" / "chains" / "cot" / "seed-0" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test": "data/valid.json"}, "has 4 of 4 questions (the first is record 1, "),
        ({"test": "data/valid.json"}, "that are in the data.valid of row cot as well (data/valid.json)"),
        ({"test": "copy.json"}, "that are in the data.valid of row cot as well"),
        ({"test": "data/train.json"}, "has 32 of 32 questions (the first is record 1, "),
        ({"test": "data/train.json", "options": {"data": {"train_limit": 31}}}, "has 31 of 32 questions"),
        ({"test": "mixed.json"}, "mixed.json has 1 of 7 questions (the first is record 7, "),
        ({"test": "data/none.json"}, "no such file"),
        ({"recipe": "none.yaml"}, "none.yaml: no such recipe"),
        ({"start_from": {"coconut": "sot"}}, "there is no row sot"),
        ({"start_from": {"coconut": "cot", "cot": "coconut"}}, "is a cycle"),
        ({"rows": {"cot": {"train": {"max_new_tokens": 9}}}}, "train.max_new_tokens is 9 in row cot and 8"),
        (
            {"rows": {"cot": {"data": {"valid": "data/test.json"}}}},
            "data.valid is data/test.json in row cot and data/valid.json in row coconut",
        ),
        ({"rows": {"cot": {"train": {"learning": 9}}}}, "datasets.chains.rows.cot: "),
        ({"options": {"data": {"valid": None}}}, "data.valid is missing"),
        ({"published": "mmlu"}, "published is mmlu"),
        ({"tset": "data/test.json"}, "tset"),
    ],
)
def test_a_faulty_data_set_is_named(changes: Any, said: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "copy.json").write_bytes((home / "data" / "valid.json").read_bytes())
    trained = records.read(home / "data" / "train.json")[9]
    again = replace(trained, question=reshuffle_facts(trained.question, random.Random(1)), steps=())
    records.write(home / "mixed.json", [*records.read(home / "data" / "test.json"), again])
    change(datasets={"chains": {**TABLE["datasets"]["chains"], **changes}})  # type: ignore[index]
    assert said in refused(capsys)
    assert not (home / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 1]}, "seeds holds one twice"),
        ({"seeds": ["a"]}, "seeds holds 'a'"),
        ({"rows": {"coconut": {}, "cot": {}, "../cot": {}}}, "'../cot' names a folder"),
        ({"rows": {"cot": None}}, "rows.cot is None"),
        ({"rows": {}}, "rows is empty"),
        ({"rows": {"coconut": {}, "cot": {"method": "Cot"}}}, "rows.cot: "),
        ({"datasets": {}}, "datasets is empty"),
        ({"datasets": 3}, "datasets is 3"),
        ({"datasets": {"chains": {"test": "data/test.json"}}}, "datasets.chains: recipe is missing"),
        ({"datasets": {"chains": "tiny.yaml"}}, "datasets.chains is 'tiny.yaml'"),
        ({"option": {"seed": 1}}, "option"),
    ],
)
def test_a_faulty_table_is_named(changes: Any, said: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(**changes)
    line = refused(capsys)
    assert said in line
    assert "table.yaml" in line
    assert not (home / "run").exists()


def test_a_folder_of_other_files_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "run").mkdir()
    (home / "run" / "table.md").write_text("years of work")
    assert "no table's" in refused(capsys)
    assert "no table's" in refused(capsys, "--dry-run")
    assert [path.name for path in (home / "run").iterdir()] == ["table.md"]
    assert "--jobs is 0" in refused(capsys, "--jobs=0")


def test_a_table_recipe_extends_another(home: Path) -> None:
    (home / "more").mkdir()
    (home / "more" / "mine.yaml").write_text("extends: ../table.yaml\nseeds: [5]\noptions: {train: {lr: 0.002}}\n")
    assert main(["table", "more/mine.yaml", "--run=run", "--only=row=cot"]) == 0
    config = yaml.safe_load((home / "run" / "chains" / "cot" / "seed-5" / "config.yaml").read_text())
    assert config["train"]["lr"] == 0.002
    assert config["train"]["batch_size"] == 16
    # The package's own recipes are known by name, from a table recipe anywhere.
    chains = {**TABLE["datasets"]["chains"], "recipe": "prosqa/{row}.yaml", "options": {"data": BASE["data"]}}  # type: ignore[index]
    (home / "more" / "mine.yaml").write_text(yaml.safe_dump({**TABLE, "datasets": {"chains": chains}}))
    (cot, *_) = plan(read_table("more/mine.yaml"), home, "mine.yaml")
    assert cot.config.model.base == "openai-community/gpt2"
