"""GSM8k and its companions: the real files whole, and rows as they are published."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.gsm8k import line_record, plain_number, require_number
from latentcot.data.records import digest, faults, read, scan, write

SHARED = Path(__file__).parents[3] / "shared/data"
AUG, ORIGINAL = SHARED / "gsm8k_aug/valid.txt", SHARED / "gsm8k/train.jsonl"


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def test_the_published_validation_set_is_read_whole():
    found = scan(real(AUG))
    assert found.faults == []
    assert len(found.examples) == 500
    assert found.examples[0].steps == ("<<4-2=2>>", "<<2/.5=4>>", "<<12/4=3>>", "<<100*3=300>>")
    assert found.examples[0].answer == "300"
    assert found.examples[0].question.startswith("John cuts his grass")
    lines = AUG.read_text(encoding="utf-8").splitlines()
    assert [f"{e.question}||{' '.join(e.steps)} #### {e.answer}" for e in found.examples] == lines
    assert sum(not example.steps for example in found.examples) == 6  # Published so.


def test_the_original_training_set_is_read_whole(tmp_path):
    found = scan(real(ORIGINAL))
    assert found.faults == []
    assert len(found.examples) == 7473
    assert found.examples[0].steps == ("<<48/2=24>>", "<<48+24=72>>")
    assert found.examples[0].answer == "72"
    solutions = [json.loads(line)["answer"] for line in ORIGINAL.read_text(encoding="utf-8").splitlines()]
    assert sum(len(example.steps) for example in found.examples) == sum(text.count("<<") for text in solutions)
    assert sum(not example.steps for example in found.examples) == sum("<<" not in text for text in solutions) == 95
    write(tmp_path / "set.json", found.examples)
    assert digest(read(tmp_path / "set.json")) == digest(found.examples)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("How many? <<1+1=2>> #### 2", "no || between question and steps"),
        ("How many?||<<1+1=2>> 2", "no #### before the answer"),
        ("How many?||<<1+1=2>> #### two", "the answer 'two' is not a number"),
        ("How many?||<<1+1=2>> ####", "the answer '' is not a number"),
        ("||<<1+1=2>> #### 2", '"question" is empty'),
        ("How many?||<<1+1=2>> #### 2 #### 2", "#### stands there twice"),
        ("How many?||<<1+1=2>> #### 2How many?||<<1+2=3>> #### 3", "#### stands there twice"),
        ("How many?||<<1+1=2>> #### 10 apples", "the answer '10 apples' is not a number"),
        ("How many?||1 + 1 ####", '"answer" is empty'),
    ],
)
def test_a_faulty_line(tmp_path, line, fault):
    path = tmp_path / "valid.txt"
    path.write_text(f"How many?||<<1+1=2>> #### 2\n\n{line}\nHow many?||#### 1,000\n")
    (message,) = faults(path)
    assert message.startswith(f"{path}: line 3: {fault}")


@pytest.mark.parametrize("answer", ["72", "two #### two", "no mark"])
def test_a_faulty_solution(tmp_path, answer):
    path = tmp_path / "train.jsonl"
    good = {"question": "How many?", "answer": "It is 1+1=<<1+1=2>>2.\n#### 2"}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "answer": answer}))
    (fault,) = faults(path)
    assert fault.startswith(f"{path}: line 2: ")
    assert ("not a number" in fault) == ("####" in answer)


STORY, ASKED = "Tom has 2 pens. He gets 3.", "How many has he?"


@pytest.mark.parametrize(
    ("row", "example"),
    [
        (
            {"ID": "chal-1", "Body": STORY, "Question": ASKED, "Equation": "( 2 + 3 )", "Answer": 5.0},
            Example(f"{STORY} {ASKED}", (), "5", {"ID": "chal-1", "Equation": "( 2 + 3 )"}),
        ),
        (
            {"input": ASKED, "code": "def solution(): ...", "target": -62338.5},
            Example(ASKED, (), "-62338.5", {"code": "def solution(): ..."}),
        ),
        ({"question": ASKED, "final_ans": "5"}, Example(ASKED, (), "5")),
    ],
    ids=["svamp", "gsm-hard", "multiarith"],
)  # fmt: skip
def test_sets_out_of_distribution(tmp_path, row, example):
    path = tmp_path / "test.json"
    path.write_text(json.dumps([row]))
    assert read(path) == [example]
    path.write_text(json.dumps([{**row, list(row)[-1]: "many"}]))
    assert faults(path) == [f"{path}: record 1: the answer 'many' is not a number: give one"]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_is_written_plainly(value):
    text = plain_number(value)
    assert "e" not in text.lower()
    assert not text.endswith((".0", "."))
    assert Decimal(text) == Decimal(str(value))
    assert plain_number(text) == text == plain_number(f" {text} ")
    assert require_number(text) == text


@pytest.mark.parametrize("value", [True, None, "four", "", float("nan"), float("inf"), [4]])
def test_what_is_no_number(value):
    with pytest.raises(UserError, match="is not a number"):
        plain_number(value)


@given(
    st.text(st.characters(exclude_characters="|#\n\r")).map(str.strip).filter(bool),
    st.lists(st.from_regex(r"<<[0-9+*/.-]{1,9}=[0-9.]{1,5}>>", fullmatch=True)),
    st.integers().map(lambda number: f"{number:,}"),
)
def test_a_line_gives_back_what_it_was_made_of(question, steps, answer):
    record = line_record(f"{question}||{' '.join(steps)} #### {answer}")
    assert record == {"question": question, "steps": steps, "answer": answer}


@pytest.mark.parametrize("text", ["1" * 10**6, "." * 10**6 + "1", "1e" + "9" * 10**6, "$1,200/3%", "10:30", ".5"])
def test_a_long_number_takes_linear_work(text: str) -> None:
    assert require_number(f" {text} ") == text
    with pytest.raises(UserError, match="is not a number"):
        require_number(f"{text}x")
