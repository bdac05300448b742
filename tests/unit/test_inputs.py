"""Files as people of this field bring them, and what each becomes."""

import bz2
import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.columns import Columns
from latentcot.data.prontoqa import recognises
from latentcot.data.records import (
    SkippedRecords,
    describe_missing_steps,
    digest,
    faults,
    read,
    scan,
    stream,
    take_first,
    write,
)

GOOD = {"question": "Q?", "steps": ["a", "b"], "answer": "7"}
PLAIN = Example("Q?", ("a", "b"), "7")
NONE = Example("Q?", (), "7")


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("steps", [[""], [" ", "\n"], [], None, "", "[]"])
@pytest.mark.parametrize("name", ["set.jsonl", "set.json", "set.parquet"])
def test_blank_or_null_steps_are_none(tmp_path, name, steps):
    path, rows = tmp_path / name, [{**GOOD, "steps": steps}]
    if name == "set.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows if name == "set.json" else rows[0]))
    assert read(path) == [NONE]
    assert faults(path) == []


def test_missing_steps_are_none_and_counted(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD, {"question": "Q?", "answer": "7"})
    assert read(path) == [PLAIN, NONE]
    assert describe_missing_steps(read(path)) == "1 of 2 records have no steps"
    assert describe_missing_steps([PLAIN]) == describe_missing_steps([]) == ""
    (tmp_path / "a.csv").write_text("question,answer,id\nQ?,7,3\n")
    found = read(tmp_path / "a.csv")
    assert found == [Example("Q?", (), "7", {"id": "3"})]
    assert describe_missing_steps(found) == "no record has steps (columns or keys that are not read: id)"


def test_a_blank_step_among_others_is_a_fault(tmp_path):
    path = lines(tmp_path / "a.jsonl", {**GOOD, "steps": ["a", "", "b"]})
    assert faults(path) == [f'{path}: line 1: step 2 of "steps" is empty: fill it in or remove it']


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (7.0, "7"), (0.5, "0.5"), (1e-7, "0.0000001"), (10**30, f"1{0:030}"), (True, "true"), (False, "false")],
)
def test_numbers_true_and_false_are_read_as_text(tmp_path, value, text):
    path = lines(tmp_path / "a.jsonl", {"question": value, "steps": [value, "b"], "answer": value})
    assert read(path) == [Example(text, (text, "b"), text)]
    stated = lines(tmp_path / "b.jsonl", {"q": "Q?", "a": value})
    assert read(stated, Columns(question="q", answer="a")) == [Example("Q?", (), text)]


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ({"cot": "<<1+1=2>> <<2 + 5 = 7>>"}, ("<<1+1=2>>", "<<2 + 5 = 7>>")),
        ({"cot": "<<1+1=2>><<2+5=7>>\n"}, ("<<1+1=2>>", "<<2+5=7>>")),
        ({"cot": ["One.", "Two."]}, ("One.", "Two.")),
        ({"chain_of_thought": '["One.", "Two."]'}, ("One.", "Two.")),
        ({"rationale": "One.\n\nTwo.\n"}, ("One.", "Two.")),
        ({"reasoning": "<think>\nOne.\nTwo.\n</think>"}, ("One.", "Two.")),
        ({"solution": "One.\nTwo."}, ("One.", "Two.")),
        ({"cot": ""}, ()),
        ({"cot": None}, ()),
    ],
)
@pytest.mark.parametrize("answer", ["7", "#### 7", 7, r"$\boxed{7}$"])
def test_the_chain_is_known_by_its_usual_names(tmp_path, row, steps, answer):
    path = lines(tmp_path / "a.jsonl", {"question": "Q?", **row, "answer": answer, "id": 1})
    assert read(path) == [Example("Q?", steps, "7", {"id": 1})]


def test_what_could_be_cut_or_meant_in_two_ways_is_asked_for(tmp_path):
    prose = lines(tmp_path / "a.jsonl", {"question": "Q?", "cot": "One. Two.", "answer": "7"})
    assert faults(prose) == [
        f'{prose}: line 1: "cot" is text, not a list: state columns.separator, which stands between its steps '
        "(empty: the text is one step)"
    ]
    assert read(prose, Columns(separator=". "))[0].steps == ("One", "Two.")
    assert read(prose, Columns(separator=""))[0].steps == ("One. Two.",)
    both = lines(tmp_path / "b.jsonl", {"question": "Q?", "cot": "<<1+1=2>>", "rationale": "One.", "answer": "7"})
    assert faults(both) == [f"{both}: cot and rationale could each be the steps: state columns.steps"]
    assert read(both, Columns(steps="cot"))[0].steps == ("<<1+1=2>>",)
    twice = lines(tmp_path / "c.jsonl", {"question": "Q?", "cot": "<<1+1=2>>", "answer": "Two.\nSeven.\n#### 7"})
    assert '"answer" has text before its mark ####' in faults(twice)[0]
    assert read(twice, Columns(steps="answer"))[0] == Example(
        "Q?", ("Two.", "Seven."), "7", {"cot": "<<1+1=2>>"}
    )  # fmt: skip


COLUMNS = {"question": ["Q?", "R?"], "steps": [["a", "b"], []], "answer": ["7", 8]}
COLUMNAR = [PLAIN, Example("R?", (), "8")]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a"])
@pytest.mark.parametrize("indent", [None, 1])
def test_one_object_of_columns(tmp_path, name, indent):
    (tmp_path / name).write_text(json.dumps(COLUMNS, indent=indent))
    if name == "a.jsonl" and indent:
        assert "not JSON" in faults(tmp_path / name)[0]
        return
    assert read(tmp_path / name) == COLUMNAR


def test_columns_of_unequal_length_are_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**COLUMNS, "answer": ["7"]}))
    assert faults(tmp_path / "a.json") == [
        f"{tmp_path / 'a.json'}: its columns differ in length (question 2, steps 2, answer 1): give every record a "
        "value in each"
    ]


def test_a_conversation_alone_is_no_set_of_columns(tmp_path):
    user, assistant = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "a\nb\n#### 7"}
    assert read(lines(tmp_path / "a.jsonl", {"messages": [user, assistant]})) == [PLAIN]
    assert read(lines(tmp_path / "b.jsonl", {"prompt": [user], "completion": [assistant]})) == [PLAIN]
    assert read(lines(tmp_path / "c.jsonl", {"messages": [[user, assistant]] * 2})) == [PLAIN] * 2


def test_what_prontoqas_generator_wrote_is_converted(tmp_path):
    question = {
        "question": "Tumpuses are gorpuses. Gorpuses are opaque. Alex is a tumpus.",
        "query": "True or false: Alex is not opaque.",
        "chain_of_thought": [
            "Alex is a tumpus.", "Tumpuses are gorpuses.", "Alex is a gorpus.", "Gorpuses are opaque.",
            "Alex is opaque.",
        ],
        "answer": "False",
    }  # fmt: skip
    path = tmp_path / "5hop.json"
    path.write_text(json.dumps({f"example{n}": {"test_example": question} for n in (1, 2)}))
    (one, _) = read(path)
    assert one == Example(
        f"{question['question']} {question['query']}",
        ("Alex is a tumpus. Tumpuses are gorpuses.", "Alex is a gorpus. Gorpuses are opaque.", "Alex is opaque."),
        "False",
    )
    assert recognises(one)
    for wrong in ({"chain_of_thought": question["chain_of_thought"][:4]}, {"query": 3}, {"chain_of_thought": [1]}):
        path.write_text(json.dumps({"example1": {"test_example": question | wrong}}))
        assert len(faults(path)) == 1


@pytest.mark.parametrize(
    ("line", "example"),
    [
        ("Q a || b?||<<1+1=2>> #### 2", Example("Q a || b?", ("<<1+1=2>>",), "2")),
        ("5 6 * 7 4||0 2 1 + 0 4 #### 1 3 0", Example("5 6 * 7 4", ("0", "2", "1", "+", "0", "4"), "1 3 0")),
        ("Q?||<<1 + 1 = 2>> <<2*2=4>> #### 4", Example("Q?", ("<<1 + 1 = 2>>", "<<2*2=4>>"), "4")),
    ],
)
def test_lines_of_gsm8k_augs_form(tmp_path, line, example):
    (tmp_path / "a.txt").write_text(line + "\n")
    assert read(tmp_path / "a.txt") == [example]


def test_a_stated_separator_cuts_the_chain_of_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("5 6 * 7 4||0 2 + 0 4 #### 1 3 0\n")
    assert read(tmp_path / "a.txt", Columns(separator="+")) == [Example("5 6 * 7 4", ("0 2", "0 4"), "1 3 0")]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a.csv", "a.parquet"])
def test_gzip_of_every_format(tmp_path, name):
    plain = tmp_path / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD]), plain)
    elif name.endswith(".csv"):
        plain.write_text('question,steps,answer\nQ?,"[""a"", ""b""]",7\n')
    elif name.endswith(".txt"):
        plain.write_text("Q?||a b #### 7\n")
    else:
        write(plain, [PLAIN])
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(packed) == read(plain) == [PLAIN]
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-12])
    (fault,) = faults(packed)
    assert fault.startswith(f"{packed}: gzip that is damaged or cut off")


def test_files_that_are_something_else_say_what(tmp_path):
    pointer = tmp_path / "a.parquet"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert "a git-lfs pointer, not the data: run `git lfs install` and then `git lfs pull`" in faults(pointer)[0]
    (tmp_path / "a.bz2").write_bytes(bz2.compress(b"{}"))
    assert "unknown format .bz2" in faults(tmp_path / "a.bz2")[0]
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe or device, not a file" in faults(tmp_path / "pipe")[0]


def test_a_folder_of_parquet_files_with_splits(tmp_path):
    folder = tmp_path / "own" / "data"
    folder.mkdir(parents=True)
    for split, answer in (("train", "7"), ("test", "8")):
        for part in range(2):
            table = pyarrow.Table.from_pylist([{**GOOD, "answer": answer, "part": part}])
            pyarrow.parquet.write_table(table, folder / f"{split}-0000{part}-of-00002.parquet")
    top = tmp_path / "own"
    assert [(e.answer, e.extra["part"]) for e in read(f"{top}:test")] == [("8", 0), ("8", 1)]
    assert {example.answer for example in read(f"{top}:train")} == {"7"}
    assert faults(top) == [f"{top}: has the splits train, test: name one, as in {top}:train"]
    assert "has the splits train, test" in faults(f"{top}:dev")[0]
    (folder / "test-00000-of-00002.parquet").write_bytes(b"PAR1 cut")
    (fault,) = faults(f"{top}:test")
    assert fault.startswith(f"{top}: ")


def test_what_save_to_disk_wrote(tmp_path):
    import datasets

    datasets.Dataset.from_list([GOOD] * 3).save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one") == [PLAIN] * 3
    splits = {
        "train": datasets.Dataset.from_list([GOOD]),
        "test": datasets.Dataset.from_list([{**GOOD, "answer": "8"}]),
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "two")
    assert [example.answer for example in read(f"{tmp_path / 'two'}:test")] == ["8"]
    assert "has the splits train, test: name one" in faults(tmp_path / "two")[0]
    assert "the folder has no splits" in faults(f"{tmp_path / 'one'}:test")[0]
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"cut")
    assert faults(tmp_path / "one")[0].startswith(f"{tmp_path / 'one'}: ")


def test_a_step_may_hold_the_answer_mark(tmp_path):
    path = lines(tmp_path / "a.jsonl", {**GOOD, "question": "### Q?", "steps": ["### Step 1: add", "b"]})
    assert read(path) == [Example("### Q?", ("### Step 1: add", "b"), "7")]
    write(tmp_path / "b.jsonl", read(path))
    assert digest(read(tmp_path / "b.jsonl")) == digest(read(path))


TEXT = "\uff11\uff12 full-width, \u201ccurly\u201d and \u2028 and \x85"


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
def test_characters_stay_as_they_are(tmp_path, name, start, end):
    content = {
        "a.json": json.dumps([{**GOOD, "question": TEXT}], indent=1, ensure_ascii=False).replace("\n", end),
        "a.jsonl": json.dumps({**GOOD, "question": TEXT}, ensure_ascii=False) + end,
        "a.csv": f'question,steps,answer{end}"{TEXT}","[""a"", ""b""]",7{end}',
        "a.txt": f"{TEXT[:-1]}.||a b #### 7{end}",
    }[name]
    (tmp_path / name).write_bytes((start + content).encode())
    assert read(tmp_path / name) == [Example(TEXT if name != "a.txt" else TEXT[:-1] + ".", ("a", "b"), "7")]


BAD = {"question": "R?", "steps": [], "answer": ""}


def test_faulty_records_are_left_out_and_counted_on_request(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD, BAD, GOOD, 3, BAD, BAD, BAD, GOOD)
    skipped = SkippedRecords(5)
    assert read(path, skipped=skipped) == [PLAIN] * 3
    assert skipped.count == 5
    assert str(skipped).startswith(f'5 faulty records left out ({path}: line 2: "answer" is empty')
    assert str(skipped).count(str(path)) == SkippedRecords.SHOWN
    assert str(skipped).endswith("; ...)")
    with pytest.raises(UserError, match=r"line 7: .*\(4 before it left out, as many as skip_faults"):
        read(path, skipped=SkippedRecords(4))
    with pytest.raises(UserError, match=r"line 2: \"answer\" is empty: fill it in or remove it$"):
        read(path)
    found = scan(path, skipped=SkippedRecords(4))
    assert (len(found.examples), len(found.faults)) == (3, 1)
    with pytest.raises(UserError, match="skip_faults is -1"):
        SkippedRecords(-1)


def test_a_file_of_faults_and_a_fault_of_the_file_are_not_skipped(tmp_path):
    skipped = SkippedRecords(9)
    with pytest.raises(UserError, match=r"no record is sound: 2 faulty records left out"):
        read(lines(tmp_path / "a.jsonl", BAD, BAD), skipped=skipped)
    (tmp_path / "a.csv").write_text('question,steps,answer\nQ?,[],7\n"R?,[],8\nS?,[],9\n')
    with pytest.raises(UserError, match="line 3: not CSV"):
        read(tmp_path / "a.csv", skipped=SkippedRecords(9))
    (tmp_path / "a.json").write_text('[{"question": "Q?"')
    with pytest.raises(UserError, match="not JSON"):
        read(tmp_path / "a.json", skipped=SkippedRecords(9))


@pytest.mark.parametrize("place", [0, 1, 2500])
def test_broken_text_in_parquet_is_a_fault_of_its_record(tmp_path, place):
    texts = [b"Q?"] * 2600
    texts[place] = b"\xff\xfe"
    column = pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"question": column, "answer": ["7"] * 2600}), path)
    (fault,) = faults(path)
    assert fault.startswith(f"{path}: record {place + 1}: holds a value that cannot be read")
    assert read(path, skipped=SkippedRecords(1)) == [NONE] * 2599


@given(st.integers(min_value=0))
def test_a_limit_may_be_of_any_size(limit):
    assert take_first(iter([PLAIN] * 3), limit) == [PLAIN] * min(3, limit)
    assert take_first(iter([PLAIN] * 3), None) == [PLAIN] * 3
    with pytest.raises(UserError, match="give 0 or more"):
        take_first(iter([]), -1 - limit)


def test_a_number_with_a_huge_exponent_is_refused_at_once(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"question": "Q?", "final_ans": "1e999999999"})
    assert "too many zeros" in faults(path)[0]


def test_stream_reads_no_more_than_it_is_asked_for(tmp_path):
    path = lines(tmp_path / "a.jsonl", GOOD, *[GOOD] * 500, BAD)
    assert take_first(stream(path), 100) == [PLAIN] * 100
