"""Any file ends in examples or in one `UserError` that names it, never in another error."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentcot.core import UserError
from latentcot.data.columns import Columns
from latentcot.data.records import digest, read, scan

NAMES = ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.txt", "a.parquet", "a", "a.jsonl.gz", "a.xlsx"]

keys = st.sampled_from(
    ["question", "steps", "answer", "cot", "solution", "problem", "messages", "prompt", "completion", "text", "role",
     "content", "Body", "Question", "Answer", "input", "code", "target", "final_ans", "test_example", "query",
     "chain_of_thought"]
) | st.text(max_size=3)  # fmt: skip
texts = st.text(max_size=8) | st.sampled_from(
    ["user", "assistant", "a\n#### 7", "### a ### b", "\\boxed{", "\\boxed{7}", "<think>", "a</think>b", "<<1+1=2>>",
     "[1, 2]", "[[", "1e999999999", "NaN", "\ud83d", "||", "a||b #### c"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)
columns = st.builds(
    Columns,
    *[st.none() | keys] * 3,
    separator=st.none() | st.text(max_size=2),
    mark=st.none() | st.text(min_size=1, max_size=2),
)


def ends_well(path, stated):
    """Read a file in both ways; `scan` finds a fault exactly where `read` refuses."""
    found, fault = [], ""
    try:
        found = read(path, stated)
    except UserError as error:
        fault = str(error)
    scanned = scan(path, stated)
    if fault:
        assert str(path) in fault
        assert scanned.faults[0] == fault
    else:
        assert found
        assert digest(found) == digest(scanned.examples)


@settings(max_examples=300, deadline=None)
@given(st.lists(values, max_size=3), st.sampled_from(["lines", "list", "one"]), columns)
@example([{"messages": [{"role": ["user"], "content": "a"}]}], "list", Columns())
@example([{"messages": [{"role": {}, "content": "a"}]}], "lines", Columns())
def test_any_value_of_json_as_a_record(tmp_path_factory, records, form, stated):
    content = {
        "lines": "\n".join(map(json.dumps, records)),
        "list": json.dumps(records),
        "one": json.dumps(records[0] if records else {}),
    }[form]
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(content)
    ends_well(path, stated)


SEEDS = [
    b'[{"question": "Q?", "steps": ["a"], "answer": "7"}]',
    b'{"question": ["Q?"], "steps": [["a"]], "answer": ["7"]}',
    b'question,steps,answer\n"Q\n?",[],7\n',
    b"Q?||<<1+1=2>> #### 2\n",
    gzip.compress(b'{"question": "Q?", "answer": "7"}'),
    b"PAR1" + b"\0" * 30 + b"PAR1",
    b"version https://git-lfs.github.com/spec/v1\n",
]


@st.composite
def damaged(draw):
    """Some file, cut, or with bytes of it changed."""
    content = bytearray(draw(st.binary(max_size=60) | st.sampled_from(SEEDS)))
    for place in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)):
        if content:
            content[place] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))])


@settings(max_examples=300, deadline=None)
@given(damaged(), st.sampled_from(NAMES))
def test_any_bytes_as_a_file(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    ends_well(path, Columns())


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "whole.parquet"
    rows = [{"question": f"Q {n}?", "steps": ["a", "b"], "answer": str(n)} for n in range(30)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), end=st.floats(0, 1) | st.just(1.0))
def test_a_damaged_parquet_file(tmp_path_factory, parquet, place, byte, end):
    content = bytearray(parquet)
    content[int(place * (len(content) - 1))] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    path.write_bytes(content[: int(end * len(content))])
    ends_well(path, Columns())


def test_a_parquet_file_whose_columns_have_broken_names(tmp_path, parquet):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet.replace(b"question", b"quest\xffon"))
    with pytest.raises(UserError, match="not Parquet, or cut off"):
        read(path)


@pytest.mark.parametrize("depth", [100, 500, 900, 990, 1500, 100_000])
@pytest.mark.parametrize("key", ["other", "steps", "question"])
def test_deep_nesting(tmp_path, depth, key):
    record = {"question": "Q?", "steps": [], "answer": "7", key: "DEEP"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record).replace('"DEEP"', "[" * depth + "]" * depth))
    ends_well(path, Columns())
