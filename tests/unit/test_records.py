"""Record files: what is read, what is refused and how, and that writing loses nothing."""

import datetime
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.records import digest, faults, read, reshuffle_facts, write
from latentcot.tokens import ANSWER_MARK, MARKERS

PUBLISHED = Path(__file__).parents[3] / "shared/data/prosqa/prosqa_valid.json"

GOOD = {"question": "Two and two?", "steps": ["<<2+2=4>>"], "answer": "4"}

texts = st.text(min_size=1).filter(
    lambda text: text.strip() and not any(mark in text for mark in (*MARKERS, ANSWER_MARK))
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(st.text().filter(lambda key: key not in GOOD), json_values, max_size=2)
examples = st.builds(Example, texts, st.lists(texts, max_size=3).map(tuple), texts, extras)


@given(st.lists(examples, min_size=1, max_size=4), st.sampled_from(["set.json", "set.jsonl"]))
@example([Example("a\u2028b\x85c?", ("x\n",), "ü")], "set.jsonl")
def test_reading_what_was_written_gives_it_back(tmp_path_factory, written, name):
    path = tmp_path_factory.mktemp("records") / "new folder" / name
    write(path, written)
    assert read(path) == written
    assert faults(path) == []


def test_a_record_is_a_line_in_both_formats(tmp_path):
    examples = [Example("Is Zoë a yumpus?", (), "no")] * 3
    write(tmp_path / "set.json", examples)
    write(tmp_path / "set.jsonl", examples)
    lines = (tmp_path / "set.jsonl").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "set.json").read_text(encoding="utf-8") == "[\n" + ",\n".join(lines) + "\n]\n"
    assert lines == ['{"question": "Is Zoë a yumpus?", "answer": "no", "steps": []}'] * 3


@pytest.mark.parametrize("name", ["set.json", "set.jsonl", "set.txt"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps([GOOD, GOOD], indent=1),
        f"{json.dumps(GOOD)}\r\n\n{json.dumps(GOOD)}",
        "\ufeff" + json.dumps([GOOD] * 2),
    ],
    ids=["list", "lines", "byte order mark"],
)
def test_the_format_is_told_by_the_content(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read(path) == [Example("Two and two?", ("<<2+2=4>>",), "4")] * 2


def broken(**fields):
    """The good record with other fields; those that are None are left out."""
    return {key: value for key, value in (GOOD | fields).items() if value is not None}


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (5, "a number, not an object"),
        (["x"], "a list, not an object"),
        (broken(question=None), '"question" is missing'),
        (broken(answer=None), '"answer" is missing'),
        (broken(question=["x"]), '"question" is a list, not text'),
        (broken(answer={"a": 4}), '"answer" is an object, not text'),
        (broken(answer=float("nan")), "the answer nan is not a number"),
        (broken(steps="two and two"), '"steps" is text, not a list'),
        (broken(steps=4), '"steps" is a number, not a list'),
        (broken(steps=["x", {}]), 'step 2 of "steps" is an object, not text'),
        (broken(question=""), '"question" is empty'),
        (broken(answer=" \n"), '"answer" is empty'),
        (broken(steps=["x", "\t"]), 'step 2 of "steps" is empty'),
        *((broken(question=f"a {marker}"), f'"question" contains the marker {marker}') for marker in MARKERS),
        (broken(steps=["a<eot>"]), 'step 1 of "steps" contains the marker <eot>'),
        (broken(answer="\ud83d"), '"answer" contains half a character'),
        (broken(answer="four ### 4"), '"answer" has text before its mark ###'),
        (broken(steps=["x", "### 4"]), 'step 2 of "steps" gives the answer after ###'),
    ],
)
@pytest.mark.parametrize("lines", [False, True])
def test_a_bad_record_is_refused_in_one_line_that_names_it(tmp_path, record, fault, lines):
    path = tmp_path / "set.json"
    path.write_text("\n".join(map(json.dumps, [GOOD, record])) if lines else json.dumps([GOOD, record]))
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {'line' if lines else 'record'} 2: {fault}")
    assert "\n" not in message
    assert ": " in message.removeprefix(f"{path}: ").split(fault)[1]  # the mend
    assert faults(path) == [message]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"[]", "holds no records"),
        (b'"text"', "holds text, not a list of records"),
        (b'{\n"question": "a"}', "holds an object, not a list of records"),
        (b'[\n{"question": }]', "not JSON (line 2, column 14: Expecting value)"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"[\n\xff]", "line 2: not UTF-8 (byte 0xff)"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, content, fault):
    path = tmp_path / "set.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: {fault}")
    assert "\n" not in str(error.value)
    assert faults(path) == [str(error.value)]


def test_missing_files_and_folders_are_refused(tmp_path):
    for path, fault in ((tmp_path / "none.json", "no such file"), (tmp_path, "a folder, not a file")):
        with pytest.raises(UserError, match=fault):
            read(path)
        assert len(faults(path)) == 1


def test_faults_are_all_listed_and_read_raises_the_first(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('{"question": "<bot><eot>", "steps": [1, ""]}\n{"question\n\n' + json.dumps(GOOD))
    found = faults(path)
    assert [fault.removeprefix(f"{path}: ").split(":")[0] for fault in found] == ["line 1"] * 4 + ["line 2"]
    assert "not JSON (column" in found[-1]
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == found[0]


def test_a_graph_that_does_not_fit_is_a_fault_that_read_lets_pass(tmp_path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps([broken(idx_to_symbol=["Tom", "lempus"], edges=[[0, 7]])]))
    assert len(read(path)) == 1
    assert faults(path) == [f'{path}: record 1: "edges" has [0, 7]: give pairs of nodes, from 0 to 1']


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "set.json"
    write(path, [Example("old", (), "1")])

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        write(path, [Example("new", (), "2")])
    assert read(path) == [Example("old", (), "1")]
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(examples, min_size=1, max_size=4))
def test_digest_is_that_of_the_jsonl_file(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("records") / "set.jsonl"
    write(path, iter(written))
    assert digest(written) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest(read(path)) == digest(written)


def test_a_key_of_ones_own_may_hold_anything(tmp_path):
    for value in ("\ud83d", datetime.date(2024, 12, 9)):
        write(tmp_path / "set.jsonl", [Example("a?", (), "b", {"key": value})])
        (back,) = read(tmp_path / "set.jsonl")
        assert back.extra["key"] == str(value)


@given(st.lists(st.from_regex(r"[A-Za-z ]{1,9}", fullmatch=True), max_size=6), st.integers())
def test_reshuffling_keeps_the_facts_and_the_query_last(facts, seed):
    question = " ".join([*(f"{fact}." for fact in facts), "Is Tom a lempus or scrompus?"])
    shuffled = reshuffle_facts(question, random.Random(seed))
    *before, last_before = question.split(". ")
    *after, last_after = shuffled.split(". ")
    assert last_after == last_before
    assert Counter(after) == Counter(before)
    assert shuffled == reshuffle_facts(question, random.Random(seed))


def test_reshuffling_reaches_every_order():
    orders = {reshuffle_facts("a. b. c. d?", random.Random(seed)) for seed in range(100)}
    assert len(orders) == 6


def test_published_file_is_sound():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    examples = read(PUBLISHED)
    assert len(examples) == 300
    assert set(examples[0].extra) == {"idx_to_symbol", "edges", "root", "target", "neg_target"}
    assert faults(PUBLISHED) == []


def test_data_tools_start_without_torch():
    code = "import latentcot.data.check, sys; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
