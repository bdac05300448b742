"""Data from anywhere, as a user brings it: converted, split, checked, trained on and measured on."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentcot.cli import main
from latentcot.core import Example
from latentcot.data import chains, prosqa, records
from tests.cli.test_verbs import SMALL

LINES = "Two pens and two?||<<2+2=4>> #### 4\nOne and two and three?||<<1+2=3>> <<3+3=6>> #### 6\nNone?||#### 0\n"


def run(*words: Any) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "aug.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return chains.make_splits({"train": 40}, 0, hops=2)["train"]


def as_table(path: Path, examples: list[Example]) -> Path:
    """Columns of other names, the steps in one text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ask", "chain", "reply"])
        writer.writerows([example.question, " / ".join(example.steps), example.answer] for example in examples)
    return path


TABLE = ["columns.question=ask", "columns.steps=chain", "columns.answer=reply", "columns.separator= / "]


@pytest.mark.parametrize("name", ["out.json", "out.jsonl"])
def test_convert_writes_records_and_says_what_it_dropped(
    name: str, lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / name
    assert run("data", "convert", lines, lines, "--out", out, "--filter.min-steps=1", "--filter.max-words=8") == 0
    kept = records.read(out)
    assert [example.answer for example in kept] == ["4", "6", "4", "6"]
    assert capsys.readouterr().out.splitlines() == [
        "min_steps 1 dropped 2, max_words 8 dropped 0",
        f"{out}: 4 records, sha256 {records.digest(kept)}",
    ]


def test_convert_keeps_what_is_there(lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    out.write_text("years of work")
    assert run("data", "convert", lines, "--out", out) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_text() == "years of work"


def test_convert_writes_steps_as_names(lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "prosqa", "--out", str(tmp_path), "--train", "20", "--valid", "5", "--test", "5"]) == 0
    out = tmp_path / "named.json"
    assert run("data", "convert", tmp_path / "train.json", "--out", out, "--steps", "named") == 0
    assert records.read(out) == [prosqa.named(example) for example in records.read(tmp_path / "train.json")]
    assert run("data", "check", out) == 0
    assert run("data", "convert", lines, "--out", tmp_path / "sums.json", "--steps", "named") == 2
    assert "not facts in a row" in capsys.readouterr().err
    assert not (tmp_path / "sums.json").exists()


def test_convert_leaves_out_the_questions_of_another_source(
    examples: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(tmp_path / "test.json", examples[:20])
    again = [Example(records.reshuffle_facts(one.question, random.Random(1)), (), "x") for one in examples[15:]]
    records.write(tmp_path / "train.json", again)
    words = ["data", "convert", tmp_path / "test.json", "--without", tmp_path / "train.json", "--out"]
    assert run(*words, tmp_path / "clean.json") == 0
    assert records.read(tmp_path / "clean.json") == examples[:15]
    assert f"5 of 20 questions are in {tmp_path / 'train.json'} and left out" in capsys.readouterr().out
    assert run("data", "check", tmp_path / "clean.json", tmp_path / "train.json") == 0
    assert run("data", "check", tmp_path / "test.json", tmp_path / "train.json") == 2
    assert "share 5 questions (record 16 is record 1)" in capsys.readouterr().out
    words[4] = tmp_path / "test.json"
    assert run(*words, tmp_path / "none.json") == 2
    assert not (tmp_path / "none.json").exists()


def test_convert_leaves_nothing_of_a_faulty_source(lines: Path, tmp_path: Path) -> None:
    lines.write_text(LINES + "broken\n")
    assert run("data", "convert", lines, "--out", tmp_path / "out.json") == 2
    assert list(tmp_path.iterdir()) == [lines]


def test_faulty_records_are_left_out_on_request(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same option says so to every verb, and every verb says how many it left out."""
    lines.write_text(LINES + "broken\nQ?||<<1+1=2>> #### two\n")
    out = tmp_path / "out.json"
    assert run("data", "convert", lines, "--out", out, "--skip_faults=1") == 2
    assert "(1 before it left out, as many as skip_faults allows)" in capsys.readouterr().err
    assert run("data", "convert", lines, "--out", out, "--skip-faults=2") == 0
    said = f"2 faulty records left out ({lines}: line 4: no ||"
    printed = capsys.readouterr().out
    assert said in printed
    assert "1 of 3 records have no steps" in printed
    assert len(records.read(out)) == 3
    assert run("data", "split", lines, "--out", tmp_path / "split", "--valid=1", "--test=0", "--skip_faults=2") == 0
    assert said in capsys.readouterr().out
    assert run("data", "check", lines) == 2
    assert run("data", "check", lines, "--skip_faults=1") == 2
    capsys.readouterr()
    assert run("data", "check", lines, "--skip_faults=2") == 0
    assert said in capsys.readouterr().out
    words = ["train", "--run", tmp_path / "run", "--data.train", lines, "--data.valid", lines, *SMALL]
    assert run(*words, "--data.skip_faults=4") == 2  # All of the validation set is trained on.
    assert "are trained on" in capsys.readouterr().err
    assert run(*words, "--data.valid=null", "--data.skip_faults=2") == 0
    assert said in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "result.json").read_text())["data"]["skipped"] == 2
    assert run("eval", tmp_path / "run", "--data", lines) == 2
    assert run("eval", tmp_path / "run", "--data", lines, "--skip_faults=2", f"--limit={10**9}") == 0
    assert said in capsys.readouterr().out
    result = json.loads((tmp_path / "run" / "eval-aug.json").read_text())
    assert (result["n"], result["skipped"]) == (3, 2)


def test_questions_and_answers_alone_are_evaluated(tmp_path: Path) -> None:
    rows = [{"question": f"{n} pens?", "answer": n, "id": n} for n in range(4)]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("train", "--run", tmp_path / "run", "--data.train", tmp_path / "qa.jsonl", *SMALL) == 0
    assert run("eval", tmp_path / "run", "--data", tmp_path / "qa.jsonl") == 0
    assert json.loads((tmp_path / "run" / "eval-qa.json").read_text())["n"] == 4


def test_split_is_sound_and_the_same_again(
    examples: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = as_table(tmp_path / "own.csv", [*examples, *examples[:5]])
    words = ["data", "split", table, *(f"--{option}" for option in TABLE), "--valid=6", "--test=7", "--seed=3", "--out"]
    assert run(*words, tmp_path / "one") == 0
    printed = capsys.readouterr().out
    files = {name: tmp_path / "one" / f"{name}.json" for name in ("train", "valid", "test")}
    made = {name: records.read(file) for name, file in files.items()}
    assert {name: len(part) for name, part in made.items()} == {"train": 32, "valid": 6, "test": 7}
    for name, part in made.items():
        assert f"{files[name]}: {len(part)} questions, sha256 {records.digest(part)}" in printed
    assert run("data", "check", *files.values()) == 0
    before = {name: file.read_bytes() for name, file in files.items()}
    assert run(*words, tmp_path / "one") == 2
    assert run(*words, tmp_path / "two") == 0
    for name, file in files.items():
        assert file.read_bytes() == before[name] == (tmp_path / "two" / f"{name}.json").read_bytes()


def test_split_without_a_test_set(lines: Path, tmp_path: Path) -> None:
    assert run("data", "split", lines, "--valid=1", "--test=0", "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train.json", "valid.json"]


def test_check_reads_every_source(lines: Path, examples: list[Example], tmp_path: Path) -> None:
    table = as_table(tmp_path / "own.csv", examples)
    assert run("data", "check", lines) == 0
    assert run("data", "check", table) == 2
    assert run("data", "check", table, *(f"--{option}" for option in TABLE)) == 0


def test_a_run_names_the_data_it_was_measured_on(examples: list[Example], tmp_path: Path) -> None:
    """Trained on two tables with a filter, from a recipe; evaluated on the same examples from another format."""
    as_table(tmp_path / "a.csv", examples[:25])
    as_table(tmp_path / "b.csv", examples[25:])
    valid = [Example(e.question, e.steps, e.answer) for e in examples if len(e.steps) >= 2][-4:]
    as_table(tmp_path / "valid.csv", valid)
    data = {"train": [f"{tmp_path}/a.csv", f"{tmp_path}/[b-f].csv"], "filter": {"min_steps": 2}, "train_limit": 12}
    columns = {"question": "ask", "steps": "chain", "answer": "reply", "separator": " / "}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": {**data, "columns": columns}}))
    words = ["train", "--config", recipe, "--data.valid", tmp_path / "valid.csv", *SMALL]
    folder = tmp_path / "run"
    assert run(*words, "--run", folder) == 0

    trained = [Example(e.question, e.steps, e.answer) for e in examples if len(e.steps) >= 2][:12]
    described = yaml.safe_load((folder / "config.yaml").read_text())
    assert described["sha256"] == {"train": records.digest(trained), "valid": records.digest(valid)}
    assert described["data"]["filter"]["min_steps"] == 2
    last = examples.index(next(e for e in examples if e.question == trained[-1].question))
    assert json.loads((folder / "result.json").read_text())["data"] == {
        "train": 12, "valid": 4, "dropped": {"min_steps": sum(len(e.steps) < 2 for e in examples[:last])},
    }  # fmt: skip
    assert run(*words, "--run", folder) == 0
    assert run(*words, "--run", folder, "--data.filter.min_steps=1") == 2

    records.write(tmp_path / "valid.jsonl", valid)
    assert run("eval", folder, "--data", tmp_path / "valid.jsonl") == 0
    names = [f"--data=[{tmp_path}/valid.csv, {tmp_path}/b.csv]", "--limit=4", *(f"--{option}" for option in TABLE)]
    assert run("eval", folder, *names) == 0
    one, two = (json.loads((folder / name).read_text()) for name in ("eval-valid.json", "eval-valid-and-1-more.json"))
    assert one["sha256"] == two["sha256"] == records.digest(valid)
    assert one["data"] == f"{tmp_path}/valid.jsonl"
    assert two["data"] == [f"{tmp_path}/valid.csv", f"{tmp_path}/b.csv"]
    assert one["accuracy"] == two["accuracy"]


def test_examples_without_steps_train_and_are_measured(tmp_path: Path) -> None:
    """As those of SVAMP: a row that removes steps has nothing to remove."""
    rows = [{"Body": f"Tom has {n}.", "Question": "How many?", "Answer": float(n)} for n in range(8)]
    (tmp_path / "svamp.json").write_text(json.dumps(rows))
    assert run("train", "--run", tmp_path / "run", "--data.train", tmp_path / "svamp.json", *SMALL) == 0
    assert run("eval", tmp_path / "run", "--data", tmp_path / "svamp.json") == 0
    assert json.loads((tmp_path / "run" / "eval-svamp.json").read_text())["n"] == 8


def test_check_tells_what_a_curriculum_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "prosqa", "--out", str(tmp_path), "--train=20", "--valid=2", "--test=2"]) == 0
    capsys.readouterr()
    file = str(tmp_path / "train.json")
    assert main(["data", "check", file, "--recipe=prosqa/coconut.yaml", "--tokenizer=words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages = lines[next(n for n, line in enumerate(lines) if line.split()[:1] == ["stage"]) + 1 :]
    assert [line.split()[2] for line in stages] == ["0", "1", "2", "3", "4", "5", "6"]
    assert stages[-1].split()[-1] == "100.0%"
    assert main(["data", "check", file, "--tokenizer=/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["named", "asked"])
def test_walks_are_made_and_sound(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--train=20", "--valid=2", "--test=2"]
    assert main(["data", "make", "walks", "--out", str(tmp_path), "--form", form, *sizes]) == 0
    assert main(["data", "check", str(tmp_path / "train.json"), str(tmp_path / "test.json")]) == 0
    assert "0 faults" in capsys.readouterr().out
    assert main(["data", "make", "walks", "--out", str(tmp_path / "small"), "--nodes=3"]) == 2
    assert "nodes is 3: give" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
