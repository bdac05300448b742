"""`latentcot generate` on files of questions and on standard input."""

import csv
import io
import json
from pathlib import Path

import pytest

from latentcot.cli import main
from latentcot.core import UserError
from latentcot.data import records
from latentcot.data.columns import Columns
from latentcot.data.questions import read_questions
from tests.cli.test_verbs import train


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a small trained run."""
    folder = tmp_path_factory.mktemp("generate")
    sizes = ["--train=32", "--valid=4", "--test=6", "--hops=2", "--seed=7"]
    assert main(["data", "make", "chains", "--out", str(folder), *sizes]) == 0
    assert train(folder, folder / "run") == 0
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["generate", *words]) == 0
    return capsys.readouterr().out


def test_a_file_of_questions_becomes_a_file_of_answers(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [example.question for example in records.read(home / "test.json")]
    source, out = tmp_path / "ask.csv", tmp_path / "out.jsonl"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "ask"], *([str(n), question] for n, question in enumerate(questions))])
    words = [str(home / "run"), f"--data={source}", "--columns.question=ask", f"--out={out}", "--batch-size=4"]
    assert printed(capsys, *words) == f"{out}\n"
    whole = out.read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [line["question"] for line in lines] == questions
    assert "".join(f"{line['text']}\n" for line in lines) == printed(capsys, str(home / "run"), *questions)
    assert all(line["thoughts"] == 2 and line["tokens"] >= 2 for line in lines)
    out.write_bytes(whole[:-30])
    printed(capsys, *words)
    assert out.read_bytes() == whole
    for more in (["--thoughts=1"], ["--sample"], ["--max-new-tokens=3"], [f"--data={home / 'valid.json'}"]):
        assert main(["generate", *words, *more]) == 2
        assert out.read_bytes() == whole
    assert main(["generate", *words[:3], f"--out={source}"]) == 2
    assert main(["generate", *words[:3], f"--out={home / 'run' / 'best' / 'config.json'}"]) == 2


@pytest.mark.parametrize("format", ["lines", "text", "jsonl"])
def test_standard_input(
    format: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (example.question for example in records.read(home / "test.json")[:2])
    several = one.replace(". ", ".\n")
    asked, text = {
        "lines": ([one, two], f"{one}\n{two}\n"),
        "text": ([several], f"{several}\n"),
        "jsonl": ([several, two], "".join(json.dumps({"question": q, "id": 3}) + "\n\n" for q in (several, two))),
    }[format]
    expected = printed(capsys, str(home / "run"), *asked)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert printed(capsys, str(home / "run"), "-", f"--format={format}") == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no questions: give some"),
        (["A B.", "--data=x.json"], "questions and --data: leave one of them out"),
        (["A B.", "--out=x.jsonl", "--stream"], "leave one of them out"),
        (["-", "--format=jsonl"], "standard input: line 1: not JSON"),
        (["A B.", "--batch-size=0"], "--batch_size is 0"),
        (["--data=none.json", "--out=x.jsonl"], "none.json: no such file"),
    ],
)
def test_what_cannot_be_asked(
    words: list[str], said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("A B.\n"))
    assert main(["generate", str(home / "run"), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "questions"),
    [
        ("a.jsonl", '{"question": "a?"}\n{"question": "b?", "answer": null, "steps": 3}\n', ["a?", "b?"]),
        ("a.json", '[{"question": "a\\nb?"}]', ["a\nb?"]),
        ("a.csv", "id,question\n1,a?\n", ["a?"]),
        ("a.txt", "a?\nb?\n", ["a?", "b?"]),
        ("a.txt", "a?||<<1+1=2>> #### 2\n", ["a?"]),
        ("a.json", '[{"Body": "A.", "Question": "b?", "Answer": 3}]', ["A. b?"]),
        ("a.jsonl", '{"ask": "a?", "question": "no"}\n', ["no"]),
    ],
)
def test_questions_need_nothing_else(name: str, content: str, questions: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert read_questions(tmp_path / name) == questions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "a?"}\n{"question": " "}\n', 'line 2: "question" is empty'),
        ('{"question": "a?"}\n{"question": "<bot>"}\n', 'line 2: "question" contains the marker <bot>'),
        ('{"question": "a?"}\n{"question\n', "line 2: not JSON"),
        ('{"question": "a?"}\n[3]\n', "line 2: no object"),
        ('{"question": "a?"}\n{"ask": "b?"}\n', 'line 2: "question" is missing'),
    ],
)
def test_a_faulty_question_is_named(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError) as error:
        read_questions([tmp_path / "a.jsonl"], Columns())  # type: ignore[list-item]
    assert f"a.jsonl: {said}" in str(error.value)
