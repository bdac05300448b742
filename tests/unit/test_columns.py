"""What columns mean: told by their names, or stated."""

import json

import pytest

from latentcot.core import Example, UserError
from latentcot.data.columns import Columns
from latentcot.data.records import faults, read

SOLUTION = "Two and two is four.\n\nFour and one is five.\n#### 5"
STEPS = ("Two and two is four.", "Four and one is five.")
USER, ASSISTANT = {"role": "user", "content": "2+2+1?"}, {"role": "assistant", "content": SOLUTION}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "2+2+1?", "completion": SOLUTION}, Columns()),
        ({"prompt": [USER], "completion": [ASSISTANT]}, Columns()),
        ({"messages": [{"role": "system", "content": "Be brief."}, USER, ASSISTANT]}, Columns()),
        ({"question": "2+2+1?", "answer": SOLUTION}, Columns()),
        ({"question": "2+2+1?", "answer": SOLUTION.replace("####", "###")}, Columns()),
        ({"question": "2+2+1?", "answer": SOLUTION.replace("####", "So:")}, Columns(mark="So:")),
        ({"q": "2+2+1?", "solution": SOLUTION}, Columns(question="q", answer="solution")),
        ({"q": "2+2+1?", "solution": SOLUTION.replace("####", "=>")}, Columns("q", answer="solution", mark="=>")),
        ({"q": "2+2+1?", "chain": list(STEPS), "a": 5}, Columns("q", "chain", "a")),
        ({"q": "2+2+1?", "chain": "|".join(STEPS), "a": "5"}, Columns("q", "chain", "a", separator="|")),
        ({"q": "2+2+1?", "chain": json.dumps(STEPS), "a": "5"}, Columns("q", "chain", "a")),
        ({"question": "2+2+1?", "steps": "\n".join(STEPS), "answer": "5"}, Columns(separator="\\n")),
    ],
)
def test_the_same_record_from_every_layout(tmp_path, row, columns):
    path = lines(tmp_path / "set.jsonl", {**row, "id": 7})
    assert read(path, columns) == [Example("2+2+1?", STEPS, "5", {"id": 7})]


@pytest.mark.parametrize(
    ("row", "columns", "said"),
    [
        ({"prompt": "a?", "completion": "I think 4"}, Columns(), '"completion" has no answer mark #### or ###'),
        ({"prompt": "a?", "completion": "4 #### 4"}, Columns(mark="So"), '"completion" has no answer mark So'),
        ({"prompt": "a?", "completion": 4}, Columns(), '"completion" is a number, not text'),
        ({"prompt": "a?", "completion": "x #### "}, Columns(), '"answer" is empty'),
        ({"messages": [USER, USER, ASSISTANT]}, Columns(), "2 messages of the user and 1 of the assistant"),
        ({"messages": "hello"}, Columns(), "0 messages of the user and 0 of the assistant"),
        ({"messages": [USER, {"role": "assistant"}]}, Columns(), '"assistant" is null, not text'),
        ({"question": "a?", "answer": "x ### y ### z"}, Columns(), '"answer" has ### more than once'),
        ({"question": "a?", "steps": 3, "answer": "b"}, Columns(separator=";"), '"steps" is a number, not a list'),
    ],
)
def test_a_row_without_a_chain_is_a_fault_of_its_line(tmp_path, row, columns, said):
    path = lines(tmp_path / "set.jsonl", row)
    assert [fault.startswith(f"{path}: line 1: {said}") for fault in faults(path, columns)] == [True]


def test_rows_of_another_layout_are_faults(tmp_path):
    path = lines(tmp_path / "set.jsonl", {"prompt": "a?", "completion": "x\n### y"}, {"prompt": "b?"}, 3)
    assert [fault.removeprefix(f"{path}: ").split(":")[1] for fault in faults(path)] == [
        ' "completion" is missing', " a number, not an object",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(question="ask"), "no column 'ask': name one of q, s, a with columns.question"),
        (Columns("q", "chain", "a"), "no column 'chain': name one of q, s, a with columns.steps"),
        (Columns("q", "s", "a", separator="|"), "the separator '|' stands in no steps"),
    ],
)
def test_a_column_or_separator_that_is_nowhere(tmp_path, columns, said):
    path = lines(tmp_path / "set.jsonl", {"q": "a?", "s": "one; two", "a": "b"})
    with pytest.raises(UserError, match=r"^\S+set.jsonl: ") as error:
        read(path, columns)
    assert said in str(error.value)


def test_an_empty_separator_leaves_one_step(tmp_path):
    path = lines(tmp_path / "set.jsonl", {"question": "a?", "steps": " one; two\n", "answer": "b"})
    assert read(path, Columns(separator=""))[0].steps == ("one; two",)


def test_a_column_of_the_same_name_does_not_win_over_the_stated_one(tmp_path):
    path = lines(tmp_path / "set.jsonl", {"question": "a?", "steps": ["x"], "answer": "no", "label": "yes"})
    assert read(path, Columns(answer="label")) == [Example("a?", ("x",), "yes")]
