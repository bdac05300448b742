"""Prepared samples are the tokenizer's, whether fresh or from the cache."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import EVERY_STEP, Example, Stage, UserError
from latentcot.methods import CoT
from latentcot.tokens import encode_examples
from latentcot.training import samples
from latentcot.training.samples import prepare
from tests.conftest import WORDS, tokenizer

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
EXAMPLES = st.lists(st.builds(Example, TEXTS, st.lists(TEXTS, max_size=4).map(tuple), TEXTS), min_size=1, max_size=12)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(samples, "WORTH_KEEPING", 1)
    monkeypatch.setattr(samples, "CHUNK", 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latentcot" / "samples"


@given(EXAMPLES)
def test_prepared_samples_are_those_of_the_tokenizer(examples: list[Example]) -> None:
    found, expected = prepare(examples, tokenizer()), encode_examples(examples, tokenizer())
    assert list(found) == expected
    assert found[-1:] == expected[-1:]
    assert found.lengths().tolist() == [
        len(sample.question) + sum(map(len, sample.steps)) + len(sample.answer) for sample in expected
    ]
    assert found.chains().tolist() == [sum(map(len, sample.steps)) for sample in expected]
    assert found.questions().tolist() == [len(sample.question) for sample in expected]
    for stage in (Stage(1), Stage(1, 2), Stage(1, 0, 3), Stage(1, EVERY_STEP)):
        targets = [CoT().target(sample, stage, random.Random(0)) for sample in expected]
        assert found.targets(stage).tolist() == [len(target) for target in targets]


EIGHT = [Example(f"w{n} w{n + 1}", ("w1 w2",) * (n % 3), f"w{n}") for n in range(8)]


def test_they_are_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = prepare(EIGHT, tokenizer())
    monkeypatch.setattr(samples, "encode_examples", None)  # Tokenizing again would fail.
    again = prepare(EIGHT, tokenizer())
    assert list(again) == list(fresh)
    assert isinstance(again.ids, np.memmap)
    assert len(list(cache.iterdir())) == 1


def test_other_texts_or_tokens_are_another_entry(cache: Path) -> None:
    prepare(EIGHT, tokenizer())
    prepare(EIGHT[:-1], tokenizer())
    prepare([Example(EIGHT[0].question + " " + EIGHT[0].answer, (), "w1"), *EIGHT[1:]], tokenizer())
    assert len(list(cache.iterdir())) == 3
    other = tokenizer()
    other.eos_token = "w5"
    assert prepare(EIGHT, other)[0].answer[-1] == other.eos_token_id
    assert len(list(cache.iterdir())) == 4


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def zero_the_end(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-8] + bytes(8))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGES = [cut, zero, zero_the_end, flip_a_bit, Path.unlink, lambda file: file.write_bytes(b"")]


@pytest.mark.parametrize("name", ["ids.npy", "ends.npy", "parts.npy", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(
    name: str, damage: Callable[[Path], object], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = list(prepare(EIGHT, tokenizer()))
    (entry,) = cache.iterdir()
    damage(entry / name)
    assert list(prepare(EIGHT, tokenizer())) == fresh
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{entry}: prepared samples are damaged, and made again" in line
    assert list(prepare(EIGHT, tokenizer())) == fresh
    assert not capsys.readouterr().err
    assert list(cache.iterdir()) == [entry]  # No draft and no damaged entry is left.


def test_an_entry_of_an_earlier_version_is_made_again(cache: Path) -> None:
    """It had no manifest."""
    fresh = list(prepare(EIGHT, tokenizer()))
    (entry,) = cache.iterdir()
    (entry / "manifest.json").unlink()
    zero(entry / "ids.npy")
    assert list(prepare(EIGHT, tokenizer())) == fresh


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def short_write(*_: object, **__: object) -> None:
    raise OSError("100 requested and 20 written")


@pytest.mark.parametrize(
    ("place", "name", "fault"),
    [
        (np, "save", full_disk),
        (np, "save", short_write),
        (os, "fsync", full_disk),
        (Path, "mkdir", full_disk),
        (Path, "rename", full_disk),
        (Path, "is_dir", full_disk),
    ],
)
def test_a_cache_that_cannot_be_used_is_no_fault(
    place: object,
    name: str,
    fault: Callable[..., None],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = encode_examples(EIGHT, tokenizer())
    with monkeypatch.context() as patch:
        patch.setattr(place, name, fault)
        found = prepare(EIGHT, tokenizer())
    assert list(found) == expected
    (line,) = capsys.readouterr().err.splitlines()
    assert "stay in memory (No space left" in line or "stay in memory (100 requested" in line
    assert not cache.exists() or not list(cache.iterdir())


def test_a_cache_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "WORTH_KEEPING", 1)
    (tmp_path / "file").write_text("kept")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert list(prepare(EIGHT, tokenizer())) == encode_examples(EIGHT, tokenizer())
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    assert list(prepare(EIGHT, tokenizer())) == encode_examples(EIGHT, tokenizer())


def test_an_entry_that_another_process_makes_first_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encode_examples(EIGHT, tokenizer())
    encode = samples.encode_examples

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(samples, "encode_examples", encode)
        assert list(prepare(EIGHT, tokenizer())) == expected
        return encode(*arguments)

    monkeypatch.setattr(samples, "encode_examples", slow)
    assert list(prepare(EIGHT, tokenizer())) == expected
    assert len(list(cache.iterdir())) == 1


def test_a_fault_leaves_nothing_in_the_cache(cache: Path) -> None:
    with pytest.raises(UserError, match="'unheard'"):
        prepare([*EIGHT, Example("unheard", (), "w1")], tokenizer())
    assert not cache.exists()


def test_a_small_set_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare(EIGHT, tokenizer())
    assert not any(tmp_path.iterdir())
