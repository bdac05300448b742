"""Files of every format: the same records, and faults that name their line."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.columns import Columns
from latentcot.data.records import digest, faults, read, write
from latentcot.tokens import ANSWER_MARK, MARKERS

texts = st.text(min_size=1).filter(
    lambda text: text.strip() and not any(mark in text for mark in (*MARKERS, ANSWER_MARK))
)
examples = st.builds(
    Example, texts, st.lists(texts, max_size=3).map(tuple), texts, st.fixed_dictionaries({"id": texts})
)
TEXT = pyarrow.string()
SCHEMA = pyarrow.schema([("id", TEXT), ("question", TEXT), ("steps", pyarrow.list_(TEXT)), ("answer", TEXT)])


def rows(written, steps=list):
    return [{"id": e.extra["id"], "question": e.question, "steps": steps(e.steps), "answer": e.answer} for e in written]


def write_csv(path: Path, table, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)


@given(st.lists(examples, min_size=1, max_size=4))
def test_every_format_gives_the_same_records(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("formats")
    for name in ("set.json", "set.jsonl"):
        write(folder / name, written)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(written), SCHEMA), folder / "set.parquet")
    write_csv(folder / "set.csv", rows(written, json.dumps))
    write_csv(folder / "set.tsv", rows(written, json.dumps), "\t")
    for path in folder.iterdir():
        assert read(path) == written, path.name
        assert digest(read(path)) == digest(written)
    assert read([folder / "set.csv", folder / "set.parquet"]) == written * 2


@given(st.lists(examples, min_size=1, max_size=4), st.sampled_from([" | ", "\n", "\t", ";"]))
def test_steps_survive_a_separator_that_they_do_not_hold(tmp_path_factory, written, separator):
    folder = tmp_path_factory.mktemp("formats")
    stripped = [
        Example(
            e.question, tuple(" ".join(step.split(separator)).strip() or "x" for step in e.steps), e.answer, e.extra
        )
        for e in written
    ]
    stripped.append(Example("a?", ("one", "two"), "b", {"id": "c"}))
    write_csv(folder / "set.csv", rows(stripped, separator.join))
    spelled = separator.replace("\n", "\\n").replace("\t", "\\t")
    assert read(folder / "set.csv", Columns(separator=spelled)) == stripped


HEAD = b"question,steps,answer\n"
GOOD = b'{"question": "a", "steps": [], "answer": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", HEAD + b"a,[],b\nc,[]\n\nd,[],e,f\n", ["line 3: 2 cells for 3", "line 5: 4 cells for 3"]),
        ("a.csv", HEAD + b'"a\nb",[],c\nd\n', ["line 4: 1 cells"]),
        ("a.csv", HEAD + b'a,[],b\n"c,[],d\ne,[],f\n', ["line 3: not CSV (unexpected end of data): close the quot"]),
        ("a.csv", HEAD + b'"a"b,[],b\n', ["line 2: not CSV"]),
        ("a.csv", b"question,reply\na,b\n", ["no column 'answer': name one of question, reply with columns.answer"]),
        ("a.csv", b"a,b,a\n1,2,3\n", ["line 1: two columns are called 'a'"]),
        ("a.csv", HEAD, ["holds no records"]),
        ("a.csv", HEAD + b"\xe4,[],b\nc,[],d\ne,[],\xf6\n", ["line 2: not UTF-8", "line 4: not UTF-8"]),
        ("a.csv", HEAD + b"a,one; two,b\n", ['line 2: "steps" is text, not a list: state columns.separator']),
        ("a.csv", HEAD + b",[],b\na,[],\n", ['line 2: "question" is empty', 'line 3: "answer" is empty']),
        ("a.tsv", HEAD.replace(b",", b"\t") + b"a\t[]\n", ["line 2: 2 cells for 3"]),
        ("a.jsonl", GOOD.replace(b"a", b"\xe4", 1) + b"[1]\n", ["line 1: not UTF-8 (byte 0xe4)", "line 2: a list"]),
        ("a.jsonl", GOOD + GOOD[:20], ["line 2: not JSON (column"]),
        ("a.jsonl", GOOD + GOOD[:13], ["line 2: not JSON (column"]),
        ("a.json", b"[" + GOOD[:-1] + b",", ["not JSON (column"]),
        ("a.parquet", b"PAR1 and then the connection broke", ["not Parquet, or cut off"]),
        ("a.parquet", b"", ["the file is empty"]),
        ("a.csv", b"\n \n", ["the file is empty"]),
        ("a.xlsx", b"PK\x03\x04", ["unknown format .xlsx: give JSON, JSONL, CSV, TSV, Parquet or text lines (.txt)"]),
    ],
)
def test_every_fault_is_named_with_its_line(tmp_path, name, content, found):
    path = tmp_path / name
    path.write_bytes(content)
    messages = faults(path)
    assert len(messages) == len(found)
    for message, part in zip(messages, found, strict=True):
        assert message.startswith(f"{path}: {part}")
        assert "\n" not in message
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == messages[0]


@pytest.mark.parametrize("name", ["set.json", "set.jsonl"])
def test_a_download_that_was_cut_anywhere(tmp_path, name):
    path = tmp_path / name
    write(path, [Example("a, b?", ("x", "y"), "4", {"id": "c"})] * 2)
    whole = path.read_bytes().rstrip()
    for end in range(len(whole) // 2 + 3, len(whole) - 1):
        path.write_bytes(whole[:end])
        (fault,) = faults(path)
        assert "not JSON" in fault
        assert "it breaks off there, so complete it or fetch it again" in fault
    path.write_bytes(whole.replace(b'"x"', b"x"))
    assert all(fault.endswith("mend that place") for fault in faults(path))


def test_a_truncated_parquet_file(tmp_path):
    path = tmp_path / "set.parquet"
    table = rows([Example(f"{n}?", ("x",), "y", {"id": str(n)}) for n in range(2000)])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table, SCHEMA), path, row_group_size=100)
    path.write_bytes(path.read_bytes()[:-100])
    assert [fault.removeprefix(f"{path}: ")[:23] for fault in faults(path)] == ["not Parquet, or cut off"]


def test_numbers_in_a_table_are_text(tmp_path):
    path = tmp_path / "set.parquet"
    table = [{"question": "a?", "steps": ["x"], "answer": 4}, {"question": "b?", "steps": [], "answer": 12}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
    assert [example.answer for example in read(path)] == ["4", "12"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{**table[0], "answer": None}]), path)
    assert faults(path) == [f'{path}: record 1: "answer" is null: fill it in']
