"""What a source string stands for: files, patterns, sets by name, data sets on the hub."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetNotFoundError

from latentcot.core import Example, UserError
from latentcot.data import hub
from latentcot.data.columns import Columns
from latentcot.data.gsm8k import HUB
from latentcot.data.records import describe_missing_steps, digest, faults, read, scan, stream, write
from latentcot.data.sources import file_name

FIRST, SECOND, THIRD = (Example(f"{n}?", (f"<<{n}+0={n}>>",), str(n)) for n in range(3))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "b.json", [FIRST])
    write(tmp_path / "sub" / "a.jsonl", [SECOND])
    write(tmp_path / "sub" / "c.jsonl", [THIRD])
    return tmp_path


class Hub:
    """Stands for the hub: serves one data set, and remembers what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str | None, str]] = []
        self.rows: list[dict[str, Any]] = [{"question": "a?", "steps": ["<<1+1=2>>"], "answer": "2"}]
        self.error: Exception | None = None
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, path: str, name: str | None = None, *, split: str) -> datasets.Dataset:
        self.asked.append((path, name, split))
        if self.error:
            raise self.error
        return datasets.Dataset.from_list(self.rows)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def test_files_patterns_and_lists(folder):
    assert read("b.json") == read(folder / "b.json") == [FIRST]
    assert read("sub/*.jsonl") == read([folder / "sub" / "a.jsonl", "sub/c.jsonl"]) == [SECOND, THIRD]
    assert read("**/*.json*") == [FIRST, SECOND, THIRD]
    assert read(["sub/c.jsonl", "b.json"]) == [THIRD, FIRST]
    assert read(str(folder / "sub" / "[a-b].*")) == [SECOND]


def test_a_file_that_exists_is_a_file_whatever_its_name(folder, served):
    for name in ("gsm8k", "sub/name", "what[is]this*.json", "a:b"):
        write(folder / f"{name}.json", [THIRD])
        (folder / f"{name}.json").rename(folder / name)
        assert read(name) == [THIRD]
    assert served.asked == []


def test_places_of_several_files_name_the_file(folder):
    assert scan("b.json").places == ["record 1"]
    assert scan("sub/*.jsonl").places == ["sub/a.jsonl: line 1", "sub/c.jsonl: line 1"]
    (folder / "sub" / "c.jsonl").write_text("3\n")
    assert [fault[: len("sub/c.jsonl: line 1: a number")] for fault in faults(["b.json", "sub/*"])] == [
        "sub/c.jsonl: line 1: a number"
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("none.json", "no such file: check the path"),
        ("./none/such", "no such file"),
        ("sub/none.parquet", "no such file"),
        ("none/*.json", "no file matches: check the pattern"),
        ("sub", "a folder, not a file: name a file in it, or a pattern as in 'sub/*.json'"),
        ("gsm9k", "no such file: give a file, owner/name on the hub, or one of gsm8k-aug, gsm8k, svamp, gsm-hard, mul"),
        ("gsm8k-aug:dev", "no split dev: give one of train, validation, test"),
    ],
)
def test_a_source_that_is_nothing(folder, served, source, said):
    with pytest.raises(UserError) as error:
        read(source)
    assert str(error.value).startswith(f"{source.removeprefix('./')}: {said}")
    assert served.asked == []


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("gsm8k-aug", ("whynlp/gsm8k-aug", None, "train")),
        ("gsm8k-aug:validation", ("whynlp/gsm8k-aug", None, "validation")),
        ("gsm8k:test", ("openai/gsm8k", "main", "test")),
        ("svamp", ("ChilleD/SVAMP", None, "test")),
        ("gsm-hard", ("reasoning-machines/gsm-hard", None, "train")),
        ("multiarith:train", ("ChilleD/MultiArith", None, "train")),
        ("owner/name", ("owner/name", None, "train")),
        ("owner/name:valid", ("owner/name", None, "valid")),
        ("an-owner/name.v2/a_config:dev-1", ("an-owner/name.v2", "a_config", "dev-1")),
    ],
)
def test_what_the_hub_is_asked_for(folder, served, source, asked):
    assert read(source) == [Example("a?", ("<<1+1=2>>",), "2")]
    assert served.asked == [asked]


def test_rows_of_the_hub_are_read_like_rows_of_files(folder, served):
    served.rows = [{"question": f"{n}?", "answer": f"So <<{n}+1={n + 1}>>\n#### {n + 1}"} for n in range(2500)]
    examples = read("gsm8k")
    assert examples[2499] == Example("2499?", ("<<2499+1=2500>>",), "2500")
    served.rows = [{"q": e.question, "chain": list(e.steps), "a": int(e.answer)} for e in examples]
    assert digest(read("me/mine", Columns("q", "chain", "a"))) == digest(examples)
    served.rows[1]["q"] = " "
    assert faults("me/mine", Columns("q", "chain", "a")) == [
        'me/mine: record 2: "question" is empty: fill it in or remove it'
    ]
    served.rows[1]["q"] = "1?"
    without = read("me/mine", Columns(question="q", answer="a"))
    assert {example.steps for example in without} == {()}
    assert describe_missing_steps(without) == "no record has steps (columns or keys that are not read: chain)"
    served.rows = [{"question": "a?", "final_ans": "5"}]
    assert read("multiarith") == [Example("a?", (), "5")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatasetNotFoundError("Dataset doesn't exist"), "no such file, and no data set me/mine on the hub"),
        (ConnectionError("Couldn't reach"), "no such file, and the hub cannot be reached"),
        (
            ValueError('Unknown split "x".\nShould be one of [...]'),
            'me/mine cannot be read (Unknown split "x". Should be one of [...]): check',
        ),
    ],
)
def test_what_the_hub_does_not_give_is_told_in_one_line(folder, served, error, said):
    served.error = error
    (fault,) = faults("me/mine:x")
    assert fault.startswith(f"me/mine:x: {said}")
    assert "\n" not in fault


def test_a_hub_out_of_reach_is_asked_once(folder, served, monkeypatch):
    """Then the cache decides, and the library is as before."""
    seen: list[bool] = []
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "answers", lambda repository, kind: False)
    load = served.load
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *a, **k: seen.append(datasets.config.HF_HUB_OFFLINE) or load(*a, **k)
    )
    assert len(read("me/mine")) == 1
    assert seen == [True]
    assert datasets.config.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("name", HUB)
def test_a_set_out_of_reach_names_the_local_alternative(name):
    (fault,) = faults(name)  # For real: the tests are offline.
    assert "the hub cannot be reached" in fault
    assert f"give {HUB[name].local}" in fault


def test_nothing_listens_at_the_hub(tmp_path):
    """For real, and with one line: the library leaves another each time that it tries again."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "latentcot", "data", "convert", "gsm8k", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert "the hub cannot be reached" in line
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ("b.json", "b"),
        ("gsm8k-aug:validation", "gsm8k-aug-validation"),
        ("openai/gsm8k/main:test", "openai-gsm8k-main-test"),
        ("sub/*.jsonl", "sub-.jsonl"),
        (["b.json", "sub/a.jsonl", "svamp"], "b-and-2-more"),
    ],
)
def test_names_for_what_is_written_about_sources(folder, sources, name):
    assert file_name(sources) == name


def test_reading_is_lazy(folder):
    """What has not been asked for has not been read: neither the next file nor the rest of one."""
    (folder / "sub" / "c.jsonl").write_text("broken")
    examples = stream("sub/*.jsonl")
    assert next(examples) == SECOND
    with pytest.raises(UserError, match="line 1: not JSON"):
        next(examples)
    write(folder / "long.jsonl", [FIRST] * 1000)
    with (folder / "long.jsonl").open("a") as file:
        file.write("broken")
    assert list(islice(stream("long.jsonl"), 500)) == [FIRST] * 500
