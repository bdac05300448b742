"""`latentcot data check`: what it counts, what it calls a fault, and what it prints."""

import json
import random
import re
from pathlib import Path

import pytest

from latentcot.core import Example
from latentcot.data import prontoqa, prosqa
from latentcot.data.check import check, render
from latentcot.data.records import digest, reshuffle_facts, write


@pytest.fixture
def splits(tmp_path):
    made = prosqa.make_splits({"train": 30, "valid": 10}, seed=0)
    paths = {name: tmp_path / f"{name}.json" for name in made}
    for name, path in paths.items():
        write(path, made[name])
    return made, paths


def test_sound_splits_have_no_faults(splits):
    made, paths = splits
    report = check(list(paths.values()))
    assert report.faults == []
    train, valid = report.files
    assert (train.records, valid.records) == (30, 10)
    assert train.sha256 == digest(made["train"])
    assert sum(train.steps.values()) == 30
    assert train.statistics["ProsQA"]["nodes"] == pytest.approx(
        sum(len(example.extra["idx_to_symbol"]) for example in made["train"]) / 30
    )
    text = render(report)
    assert "0 faults, 0 duplicates" in text
    assert "22.800" in text  # the published mean beside the file's own
    assert max(map(len, text.splitlines())) < 100 + len(str(paths["train"]))


def test_a_question_with_its_facts_in_another_order_is_the_same_question(splits):
    made, paths = splits
    leak = made["train"][4]
    leak = Example(reshuffle_facts(leak.question, random.Random(1)), leak.steps, leak.answer, leak.extra)
    write(paths["valid"], [*made["valid"], leak, leak])
    report = check(list(paths.values()))
    assert report.faults == [
        f"{paths['train']} and {paths['valid']} share 1 question (record 5 is record 11): keep each in one of them"
    ]
    assert report.files[1].duplicates == [("record 11", "record 12")]
    text = render(report)
    assert "record 12 asks the same as record 11" in text
    assert "1 fault, 1 duplicate" in text


def test_numbers_of_lengths_and_steps(tmp_path):
    path = tmp_path / "set.json"
    write(path, [Example("a " * n + "b?", ("x y",) * (n % 3), "12") for n in range(1, 101)])
    file = check([path]).files[0]
    assert file.words["question"] == [51, 96, 101]
    assert file.characters["question"] == [102, 192, 202]
    assert file.words["steps"] == [2, 4, 4]
    assert file.words["answer"] == [1, 1, 1]
    assert file.steps == {0: 33, 1: 34, 2: 33}
    assert file.statistics == {}


def test_every_data_set_is_compared_with_its_published_files(splits, tmp_path):
    made, _ = splits
    pronto = prontoqa.make_splits({"test": 10}, seed=0)["test"]
    path = tmp_path / "mixed.json"
    write(path, [*made["train"], *pronto, Example("What is 1 + 1?", (), "2")])
    report = check([path])
    assert report.faults == []
    assert report.files[0].statistics == {
        "ProsQA": prosqa.statistics(made["train"]),
        "ProntoQA": prontoqa.statistics(pronto),
    }
    text = render(report)
    assert re.search(r"^  ProntoQA +here +published$", text, re.MULTILINE)
    assert re.search(r"^  sentences +25.000 +25.000$", text, re.MULTILINE)
    columns = {len(line) for line in text.splitlines() if line.endswith(("published", "25.000", "2.570"))}
    assert len(columns) == 1


def test_bad_records_are_listed_up_to_the_limit(tmp_path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps([{"question": "a?", "steps": [], "answer": "b"}, *range(30)]))
    report = check([path])
    assert len(report.faults) == 30
    assert report.files[0].records == 1
    text = render(report, limit=4)
    assert text.count("not an object") == 4
    assert "and 26 more" in text
    assert "30 faults" in text


def test_a_file_that_cannot_be_read_is_a_fault_beside_the_others(splits):
    _, paths = splits
    missing = Path(str(paths["train"]) + "l")
    report = check([missing, paths["valid"]])
    assert len(report.faults) == 1
    assert "no such file" in render(report)
    assert report.files[0].sha256 == ""
    assert report.files[1].records == 10
