"""A question is known again however it is written, and a set that shares some with another is caught."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data import chains, prosqa, records
from latentcot.data.holdout import hold_out
from latentcot.data.leaks import find_overlap, question_keys
from latentcot.data.records import question_key, reshuffle_facts
from latentcot.training.data import find_trained_on

PROSQA = prosqa.make_splits({"test": 60}, seed=3)["test"]
CHAINS = chains.make_splits({"train": 60}, 3)["train"]


def disguise(question: str, rng: random.Random) -> str:
    """The same question as another file may have it."""
    text = reshuffle_facts(question, rng)
    text = rng.choice([text, text.upper(), text.lower(), text.replace(". ", ".\n"), text.replace(" ", "\u00a0 ")])
    return rng.choice(["", "  "]) + text + rng.choice(["", "\n", " "])


@given(st.integers(), st.sampled_from([PROSQA, CHAINS]))
def test_a_disguised_question_has_the_same_key_and_no_other(seed: int, examples: list[Example]) -> None:
    rng = random.Random(seed)
    place = rng.randrange(len(examples))
    key = question_key(disguise(examples[place].question, rng))
    assert [question_key(example.question) == key for example in examples] == [
        number == place for number in range(len(examples))
    ]


@given(st.integers(), st.sets(st.integers(0, 59)))
def test_the_overlap_is_counted_and_its_first_question_named(seed: int, places: set[int]) -> None:
    rng = random.Random(seed)
    trained = [Example(disguise(PROSQA[place].question, rng), (), "x") for place in places] + CHAINS
    overlap = find_overlap(PROSQA, question_keys(trained))
    assert (overlap.count, overlap.n) == (len(places), 60)
    assert overlap.first == min((place + 1 for place in places), default=0)
    if places:
        assert overlap.question == PROSQA[min(places)].question
        assert str(overlap).startswith(f"{len(places)} of 60 questions (the first is record {min(places) + 1}, ")


def test_a_split_keeps_disguised_repetitions_together() -> None:
    rng = random.Random(0)
    twice = [*PROSQA, *(Example(disguise(example.question, rng), (), example.answer) for example in PROSQA)]
    made = hold_out(twice, {"valid": 20, "test": 20}, seed=1)
    keys = [question_keys(part) for part in made.values()]
    assert [len(part) for part in made.values()] == [80, 20, 20]
    assert sum(map(len, keys)) == len(frozenset.union(*keys)) == 60


def test_the_split_of_a_seed_stays_what_it_was() -> None:
    """As made by the first version: recipes name splits by their seed."""
    examples = [Example(f"What is {a} and {b}?", (), str(a + b)) for a in range(5) for b in range(5)]
    made = hold_out(examples, {"valid": 3, "test": 3}, seed=0)
    sums = {name: [example.question[8:-1] for example in part] for name, part in made.items() if name != "train"}
    assert sums == {"valid": ["3 and 0", "3 and 2", "4 and 1"], "test": ["0 and 1", "3 and 1", "4 and 4"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that looks like a run's on 20 of the chains."""
    records.write(tmp_path / "train.json", CHAINS)
    (tmp_path / "run" / "best").mkdir(parents=True)
    digest = records.digest(CHAINS[:20])
    (tmp_path / "run" / "config.yaml").write_text(
        f"data: {{train: {tmp_path}/train.json, train_limit: 20, valid: gone.json}}\nsha256: {{train: {digest}}}\n"
    )
    return tmp_path / "run"


@pytest.mark.parametrize("folder", ["", "best"])
def test_what_a_run_was_trained_on_is_found_by_its_configuration(run: Path, folder: str) -> None:
    overlap = find_trained_on(run / folder, CHAINS[15:30])
    assert (overlap.count, overlap.n, overlap.first) == (5, 15, 1)
    assert find_trained_on(run / folder, PROSQA).count == 0


def test_what_cannot_be_told_is_said(run: Path, tmp_path: Path) -> None:
    records.write(tmp_path / "train.json", CHAINS[1:])
    with pytest.raises(UserError, match=r"train.json: has changed since"):
        find_trained_on(run, CHAINS)
    (tmp_path / "train.json").unlink()
    with pytest.raises(UserError, match=r"train.json: is no file on this machine"):
        find_trained_on(run, CHAINS)
    (run / "config.yaml").write_text("data: {train: gsm8k}\n")
    with pytest.raises(UserError, match=r"gsm8k: is no file on this machine"):
        find_trained_on(run, CHAINS)
    for text in ("[]", "data: 3", "", "data: {}"):
        (run / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config.yaml: "):
            find_trained_on(run, CHAINS)
    (run / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"config.yaml: is missing"):
        find_trained_on(run, CHAINS)
