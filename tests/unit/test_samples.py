"""Prepared samples are the tokenizer's, whether fresh or from the cache."""

import random
from pathlib import Path

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


def test_a_fault_leaves_nothing_in_the_cache(cache: Path) -> None:
    with pytest.raises(UserError, match="'unheard'"):
        prepare([*EIGHT, Example("unheard", (), "w1")], tokenizer())
    assert not cache.exists()


def test_a_small_set_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare(EIGHT, tokenizer())
    assert not any(tmp_path.iterdir())
