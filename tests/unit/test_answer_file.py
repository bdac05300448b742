"""A file of answers is the same however often it is interrupted, and no other file is taken for it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcot.core import Prediction, Slot, UserError
from latentcot.evaluation import answer_file
from latentcot.evaluation.answer_file import AnswerFile, describe_maker
from latentcot.generate import answer
from tests.conftest import checkpoint, tiny_model

QUESTIONS = ["w1 w2", "w3 \u00fc\u2028?", "w1 w2", "w4", "w5 w6 w7"]


class Askable:
    """A checkpoint that takes every question."""

    def layout(self, question: str, thoughts: int | None) -> None:
        """Take it."""


def echo(_: Any, questions: list[str], **options: Any) -> list[Prediction]:
    return [
        Prediction(f"### {question}, {options['x']}" if "4" not in question else "", 3, 1) for question in questions
    ]


@pytest.fixture(autouse=True, scope="module")
def echoing() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_file, "answer", echo)
        yield


def write(path: Path, chunk: int = 2, questions: list[str] = QUESTIONS) -> bytes:
    file = AnswerFile(path, questions, "ab", chunk)
    if path.exists():
        assert file.is_own(path)
    file.write(Askable(), {"x": 7}, seed=0)  # type: ignore[arg-type]
    return path.read_bytes()


def test_a_line_says_question_and_answer(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write(tmp_path / "new" / "a.jsonl").splitlines()]
    assert [line["question"] for line in lines] == QUESTIONS
    assert [line["answer"] for line in lines] == ["w1 w2 7", "w3 \u00fc\u2028? 7", "w1 w2 7", None, "w5 w6 w7 7"]
    assert lines[0] == {
        "made_by": "ab", "question": "w1 w2", "text": "### w1 w2, 7", "answer": "w1 w2 7", "tokens": 3, "thoughts": 1,
    }  # fmt: skip


@settings(deadline=None)  # Files are flushed to disk.
@given(st.data())
def test_cut_short_at_any_byte_it_becomes_what_it_would_have_been(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("answers") / "a.jsonl"
    whole = write(path)
    zeros = data.draw(st.sampled_from([0, 9]))
    path.write_bytes(whole[: data.draw(st.integers(min(zeros, 1), len(whole)))] + bytes(zeros))
    assert write(path, chunk=data.draw(st.integers(1, 6))) == whole
    assert write(path) == whole


def test_what_is_answered_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole = write(tmp_path / "a.jsonl")
    monkeypatch.setattr(answer_file, "answer", lambda *args, **options: asked.extend(args[1]) or echo(*args, **options))
    (tmp_path / "a.jsonl").write_bytes(whole[: whole.index(b"w4")])
    assert write(tmp_path / "a.jsonl") == whole
    assert asked == QUESTIONS[2:]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"years of work",
        lambda content: bytes(100),
        lambda content: content + content[-40:],
        lambda content: content + b"\n",
        lambda content: content.replace(b"ab", b"cd", 1),
        lambda content: content.replace(b"w4", b"w5", 1),
        lambda content: content[content.index(b"\n") + 1 :],
        lambda content: content.replace(b'"tokens"', b"tokens", 1),
        lambda content: content[:-20] + b"\n",
    ],
)
def test_any_other_file_is_none_of_it(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    other = change(write(path))
    path.write_bytes(other)
    assert not AnswerFile(path, QUESTIONS, "ab", 2).is_own(path)
    assert path.read_bytes() == other


def test_two_commands_do_not_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(*args: Any, **options: Any) -> list[Prediction]:
        with pytest.raises(UserError, match="another process writes it"):
            write(tmp_path / "a.jsonl")
        return echo(*args, **options)

    monkeypatch.setattr(answer_file, "answer", meanwhile)
    assert write(tmp_path / "a.jsonl").count(b"\n") == 5


def test_the_maker_is_told_by_weights_questions_and_options(tmp_path: Path) -> None:
    def maker(**changes: Any) -> str:
        asked = {"checkpoint": tmp_path / "one", "questions": QUESTIONS, "options": {"thoughts": None}}
        return describe_maker(**{**asked, **changes})

    for name, slot in (("one", Slot.STATE), ("copy", Slot.STATE), ("other", Slot.NONE)):
        checkpoint(tiny_model("gpt2"), slot).save(tmp_path / name)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").symlink_to(tmp_path / "one")
    assert maker() == maker(checkpoint=tmp_path / "copy") == maker(checkpoint=tmp_path / "run")
    changed = [maker(questions=QUESTIONS[1:]), maker(options={"thoughts": 1}), maker(checkpoint=tmp_path / "other")]
    assert len({maker(), *changed}) == 4


def test_answers_are_those_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_file, "answer", answer)
    thinker, path, questions = checkpoint(tiny_model("gpt2")), tmp_path / "a.jsonl", ["w1 w2", "w3", "w4 w5 w6"]
    for options in ({"thoughts": 2}, {"thoughts": 2, "do_sample": True}):
        file = AnswerFile(path, questions, "ab", 2)
        file.write(thinker, options, seed=3)
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        file.write(thinker, options, seed=3)
        assert path.read_bytes() == whole
        texts = [json.loads(line)["text"] for line in whole.splitlines()]
        if "do_sample" not in options:
            assert texts == [prediction.text for prediction in answer(thinker, questions, thoughts=2)]
        path.unlink()
    with pytest.raises(UserError, match="question 2: the question is empty"):
        AnswerFile(path, ["w1", " "], "ab", 2).write(thinker, {}, seed=0)
    assert not path.exists()
