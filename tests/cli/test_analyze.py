"""Every analysis and the report, as a user calls them, on small runs that all tests share."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentcot.cli import main
from latentcot.cli.analyze import VERBS
from latentcot.data import records

SMALL = [
    "--curriculum.stages=2", "--curriculum.epochs_first=1", "--curriculum.epochs_per_stage=1", "--curriculum.epochs=3",
    "--model.scratch.layers=1", "--model.scratch.heads=2", "--model.scratch.width=16", "--model.scratch.positions=256",
    "--train.batch_size=16", "--train.max_new_tokens=12", "--train.lr=0.001",
]  # fmt: skip
KINDS = ("csv", "json", "png", "svg")
NAMES = [path[1] for path in VERBS if path[1] != "sweep"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--train=200", "--valid=6", "--test=40", "--nodes=12", "--seed=7"]
    assert main(["data", "make", "prosqa", "--out", str(folder), *sizes]) == 0
    assert main(["data", "make", "chains", "--out", str(folder / "chains"), "--train=64", "--valid=4", "--test=6"]) == 0
    return folder


def train(data: Path, run: Path, *more: str) -> Path:
    files = [f"--data.train={data / 'train.json'}", f"--data.valid={data / 'valid.json'}"]
    assert main(["train", "--run", str(run), *files, *SMALL, *more]) == 0
    return run


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "coconut")


@pytest.fixture(scope="module")
def cot(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "cot", "--method=CoT", "--curriculum.epochs=1")


@pytest.fixture(scope="module")
def chains(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data / "chains", tmp_path_factory.mktemp("runs") / "chains")


def analyze(name: str, checkpoint: Path, data: Path, out: Path, *more: str) -> int:
    return main(["analyze", name, str(checkpoint), "--data", str(data), "--out", str(out), *more])


def check_files(out: Path, name: str) -> dict[str, Any]:
    """The four files are there and nothing else, and their numbers agree; what the JSON says."""
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.{kind}" for kind in KINDS]
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / f"{name}.svg").read_text()
    said: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    with (out / f"{name}.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(said["rows"]) > 0
    return said


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("case", "probe")])
def test_an_analysis_writes_its_four_files(
    name: str, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(name, run, data / "test.json", tmp_path / "out", "--limit=5") == 0
    assert str(tmp_path / "out" / f"{name}.png") in capsys.readouterr().out
    said = check_files(tmp_path / "out", name)
    assert said["analysis"] == name
    assert (said["row"], said["questions"], said["thoughts"]) == ("coconut", 5, 2)
    assert said["sha256"] == records.digest(records.read(data / "test.json")[:5])


def test_probes_need_more_questions(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze("probe", run, data / "train.json", tmp_path / "out") == 0
    facts = {row["fact"] for row in check_files(tmp_path / "out", "probe")["rows"]}
    assert len(facts) == 3
    assert analyze("probe", run, data / "test.json", tmp_path / "few", "--limit=5") == 2
    assert "too few" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("name", ["tree", "race", "decode", "case"])
def test_one_question_of_the_set(name: str, run: Path, cot: Path, data: Path, tmp_path: Path) -> None:
    more = [f"--beside={cot}"] if name == "case" else []
    assert analyze(name, run, data / "test.json", tmp_path, "--index=3", *more) == 0
    said = check_files(tmp_path, name)
    assert said["question"] == records.read(data / "test.json")[3].question
    assert {row["index"] for row in said["rows"]} <= {3, None}
    if name == "case":
        assert [(row["row"], row["thoughts"]) for row in said["rows"]] == [
            ("cot", 0), ("coconut", 0), ("coconut", 1), ("coconut", 2),
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["race", "parallelism", "interpolation", "decode", "faithfulness", "health"])
def test_sets_without_graphs_too(name: str, chains: Path, data: Path, tmp_path: Path) -> None:
    assert analyze(name, chains, data / "chains" / "test.json", tmp_path, "--thoughts=1") == 0
    assert check_files(tmp_path, name)["thoughts"] == 1


def test_height_by_both_definitions(run: Path, data: Path, tmp_path: Path) -> None:
    found = {}
    for definition in ("shortest", "longest"):
        out = tmp_path / definition
        assert analyze("height", run, data / "test.json", out, f"--definition={definition}") == 0
        said = check_files(out, "height")
        assert said["height"] == definition
        found[definition] = [row["height"] for row in said["rows"]]
    assert all(low <= high for low, high in zip(found["shortest"], found["longest"], strict=True))
    assert found["shortest"] != found["longest"]


def test_the_values_in_the_files_are_those_of_the_set(run: Path, data: Path, tmp_path: Path) -> None:
    """The mean masses of the set are made of the values of its questions."""
    assert analyze("tree", run, data / "test.json", tmp_path / "set", "--limit=2") == 0
    ones = []
    for index in ("0", "1"):
        assert analyze("tree", run, data / "test.json", tmp_path / index, f"--index={index}") == 0
        ones += check_files(tmp_path / index, "tree")["rows"]
    for mass in check_files(tmp_path / "set", "tree")["rows"]:
        key = (mass["thoughts"], mass["distance"])
        expected = sum(one["value"] for one in ones if (one["thoughts"], one["distance"]) == key) / 2
        assert mass["value"] == pytest.approx(expected, abs=1e-6)


def test_sweep(run: Path, cot: Path, tmp_path: Path) -> None:
    assert main(["analyze", "sweep", str(run), str(cot), "--out", str(tmp_path)]) == 0
    assert [row["row"] for row in check_files(tmp_path, "sweep")["rows"]] == ["coconut", "cot"]


def test_files_that_are_there_stay(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "race.svg").write_text("years of work")
    assert analyze("race", run, data / "test.json", tmp_path) == 2
    assert "race.svg: exists" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["years of work"]
    (tmp_path / "sweep.csv").write_text("more of it")
    assert main(["analyze", "sweep", str(run), "--out", str(tmp_path)]) == 2
    assert "sweep.csv: exists" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("latentcot: error: ")
    return line


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [
        ("tree", ["--thoughts=300"], "test.json: record 1: the question and its 300 thoughts need"),
        ("race", ["--thoughts=-1"], "thoughts is -1"),
        ("parallelism", ["--thoughts=0"], "number of thoughts is 0"),
        ("height", ["--thoughts=0"], "number of thoughts is 0"),
        ("decode", ["--thoughts=0"], "number of thoughts is 0"),
        ("faithfulness", ["--limit=1"], "2 or more"),
        ("health", ["--limit=0"], "--limit is 0"),
        ("health", ["--batch-size=0"], "--batch_size is 0"),
        ("decode", ["--top=0"], "--top is 0"),
        ("tree", ["--index=40"], "--index is 40: the questions are numbered from 0 to 39"),
        ("race", ["--index=-1"], "--index is -1"),
        ("height", ["--definition=mean"], "definition"),
        ("case", ["--beside=nowhere"], "nowhere: no checkpoint there"),
    ],
)
def test_a_faulty_option_is_named(
    name: str, flags: list[str], said: str, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "analyze", name, run, "--data", data / "test.json", "--out", tmp_path / "out", *flags)
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_without_thoughts_is_refused(
    name: str, cot: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "analyze", name, cot, "--data", data / "test.json", "--out", tmp_path / "out")
    assert "the row cot has no thoughts to look into" in line
    assert str(cot) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tree", "height", "probe"])
def test_a_set_without_graphs_is_refused(
    name: str, chains: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data / "chains" / "test.json"
    line = refused(capsys, "analyze", name, chains, "--data", file, "--out", tmp_path / "out")
    assert f"{file}: record 1: no graph beside the question" in line


def test_questions_that_cannot_be_asked_are_named(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = json.loads((data / "test.json").read_text())
    file, out = tmp_path / "bad.json", tmp_path / "out"
    file.write_text(json.dumps([examples[0], examples[1] | {"question": "Is Zed a qwertyus?"}]))
    line = refused(capsys, "analyze", "race", run, "--data", file, "--out", out)
    assert f"{file}: record 2: 'Zed', 'qwertyus?' are not in the model's vocabulary" in line
    cyclic = examples[1] | {"edges": [*examples[1]["edges"], examples[1]["edges"][0][::-1]]}
    file.write_text(json.dumps([examples[0], cyclic]))
    assert 'record 2: "edges" has a cycle' in refused(capsys, "analyze", "height", run, "--data", file, "--out", out)
    file.write_text(json.dumps([{key: examples[0][key] for key in ("question", "steps", "answer")}]))
    assert "record 1: neither a graph" in refused(capsys, "analyze", "race", run, "--data", file, "--out", out)
    assert not out.exists()


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, latentcot.cli.analyze; from latentcot.cli import main;"
        "\ntry: main(['analyze', 'tree', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_a_report_shows_what_applies(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--data", str(data / "test.json")]) == 0
    page, folder = tmp_path / "page.html", tmp_path / "page"
    capsys.readouterr()
    assert main(["report", str(run), "--out", str(page), "--limit=5"]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text()
    made = {path.stem for path in folder.iterdir()}
    assert made - {"case"} == {
        "learning", "interpolation", "tree-of-one", "tree", "height", "race-of-one", "race", "parallelism", "decode",
        "health", "faithfulness",
    }  # fmt: skip
    assert len(list(folder.iterdir())) == 4 * len(made)
    assert text.count("<svg") == len(made)
    assert not re.search(r'(?:src|href)="(?!#|data:)', re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    for said in (
        "eval-test",
        "curriculum.thoughts_per_step",
        records.digest(records.read(data / "train.json")),
        "Answers",
    ):
        assert said in text
    before = page.read_bytes()
    assert "page.html: exists" in refused(capsys, "report", run, "--out", page)
    assert page.read_bytes() == before


def test_a_report_on_a_row_without_thoughts_or_without_its_questions(
    cot: Path, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(cot), "--out", str(tmp_path / "cot.html")]) == 0
    assert {path.stem for path in (tmp_path / "cot").iterdir()} == {"learning"}
    assert "Answers" in (tmp_path / "cot.html").read_text()
    valid = data / "valid.json"
    kept = valid.read_bytes()
    try:
        valid.write_text(json.dumps(json.loads(kept)[1:]))
        assert main(["report", str(run), "--out", str(tmp_path / "changed.html")]) == 0
        valid.unlink()
        assert main(["report", str(run), "--out", str(tmp_path / "gone.html")]) == 0
    finally:
        valid.write_bytes(kept)
    assert "is no longer what the run was validated on" in (tmp_path / "changed.html").read_text()
    assert "the validation set is gone" in (tmp_path / "gone.html").read_text()
    assert (tmp_path / "gone.html").read_text().count("<svg") == 1
    assert "give the folder of a run" in refused(capsys, "report", tmp_path)
    assert "ends in .html" in refused(capsys, "report", run, "--out", tmp_path / "page")


def test_training_logs_the_health_of_the_thoughts(run: Path, cot: Path) -> None:
    def validations(folder: Path) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return [entry for entry in entries if "eval_accuracy" in entry]

    names = [{name for name in entry if name.startswith("eval_thought_")} for entry in validations(run)]
    one, several = {"eval_thought_norm_ratio"}, {"eval_thought_norm_ratio", "eval_thought_cosine", "eval_thought_rank"}
    assert names == [set(), one, several]  # No thought in stage 0, then one, then two.
    assert not any(name.startswith("eval_thought_") for entry in validations(cot) for name in entry)


def test_training_warns_of_thoughts_that_go_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentcot.evaluation.health.NORM_RATIOS", (0.0, 0.01))
    train(data / "chains", tmp_path / "run")
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning:")]
    sizes = [line for line in warned if "times as large as token embeddings" in line]
    assert [line.split(":")[1] for line in sizes] == [" stage 1", " stage 2"]  # Stage 0 has no thoughts.
