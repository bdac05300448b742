"""Chains: every question is right, no split shares a round trip with another, and guessing stays low."""

from collections import Counter
from itertools import pairwise

import pytest

from latentcot.core import Example, UserError
from latentcot.data.chains import make_splits

SPLITS = make_splits({"train": 1000, "valid": 100, "test": 300}, seed=3)


def arrows(example: Example) -> dict[str, str]:
    """Read back from the question's text, as a model must."""
    facts = [sentence.split() for sentence in example.question.split(". ")[:-1]]
    return dict(facts)


def round_trip(example: Example) -> tuple[str, ...]:
    return tuple(f"{tail}{head}" for tail, head in sorted(arrows(example).items()))


@pytest.mark.parametrize("name", SPLITS)
def test_the_stated_answer_follows_from_the_arrows(name: str) -> None:
    for example in SPLITS[name]:
        words = example.question.rsplit(". ", 1)[1].rstrip(".").split()
        assert words[0] == "From"
        assert words[2] == "follow"
        path = [words[1]]
        for _ in range(int(words[3])):
            path.append(arrows(example)[path[-1]])
        assert example.steps == tuple(f"Then {tail} {head}." for tail, head in pairwise(path))
        assert example.answer == path[-1]


def test_the_arrows_are_one_round_trip_so_no_symbol_comes_back() -> None:
    for example in SPLITS["train"]:
        steps = arrows(example)
        here, seen = min(steps), set()
        while here not in seen:
            seen.add(here)
            here = steps[here]
        assert seen == set(steps) == set(example.extra["candidates"])
        assert len(seen) == 6


def test_no_round_trip_is_in_two_splits() -> None:
    trips = {name: {round_trip(example) for example in examples} for name, examples in SPLITS.items()}
    assert not trips["train"] & trips["valid"]
    assert not trips["train"] & trips["test"]
    assert not trips["valid"] & trips["test"]


def test_a_split_does_not_change_with_the_sizes_of_the_others() -> None:
    again = make_splits({"train": 10, "valid": 50, "test": 300}, seed=3)
    assert again["test"] == SPLITS["test"]
    assert again["valid"] == SPLITS["valid"][:50]
    assert make_splits({"train": 10, "valid": 50, "test": 300}, seed=4)["test"] != SPLITS["test"]


def test_answers_and_lengths_are_spread() -> None:
    for name, lengths in {"train": (1, 2, 3, 4), "test": (2, 3, 4)}.items():
        found = Counter(len(example.steps) for example in SPLITS[name])
        assert found.keys() == set(lengths)
        for count in found.values():
            assert count / len(SPLITS[name]) == pytest.approx(1 / len(lengths), abs=0.08)
    assert max(Counter(example.answer for example in SPLITS["train"]).values()) / 1000 < 1 / 8 + 0.05


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"symbols": 3}, "symbols is 3"),
        ({"symbols": 9}, "symbols is 9"),
        ({"alphabet": 27}, "alphabet is 27"),
        ({"hops": 1}, "hops is 1"),
        ({"hops": 6}, "hops is 6"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, int], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        make_splits({"train": 1}, 0, **options)


def test_a_split_without_questions_is_refused() -> None:
    with pytest.raises(UserError, match="test is 0"):
        make_splits({"train": 1, "test": 0}, 0)
