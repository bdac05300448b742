"""Candidates, openings and what is right, for ProsQA and for records that name their candidates."""

import re
from pathlib import Path

import pytest

from latentcot.core import Example, UserError
from latentcot.data import chains, prosqa, records
from latentcot.data.choices import choices
from latentcot.data.graph import graph_of
from latentcot.tokens import ANSWER_MARK

PUBLISHED = Path(__file__).parents[3] / "shared/data/prosqa/prosqa_valid.json"
PROSQA = prosqa.make_splits({"valid": 30}, seed=5, nodes=14)["valid"]
CHAINS = chains.make_splits({"train": 4, "valid": 30}, seed=5)["valid"]


def check_gold(examples: list[Example], named: bool = False) -> None:
    """After each thought the gold text goes on with the opening and a right name."""
    for example in examples:
        texts = [*example.steps, *[f"{ANSWER_MARK} {example.answer}"] * 3]
        for thoughts, text in enumerate(texts):
            found, text = choices(example, thoughts, named), text.removeprefix(" ")
            assert found.right <= set(found.names)
            lines = [re.escape(f"{found.opening} {name}".strip()) for name in found.right]
            assert re.match(rf"(?:{'|'.join(lines)})(?!\w)", text)


def test_the_gold_text_of_generated_questions() -> None:
    check_gold([*PROSQA, *CHAINS])


def test_the_gold_text_of_questions_with_named_steps() -> None:
    check_gold([prosqa.named(example) for example in PROSQA], named=True)


def test_the_gold_text_of_published_questions() -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    check_gold(records.read(PUBLISHED))


def test_every_shortest_path_is_right() -> None:
    """Tom -> a, b; a -> t; b -> t: both ways are as short."""
    symbols, edges = ["Tom", "a", "b", "t", "Sam", "x"], [[0, 1], [0, 2], [1, 3], [2, 3], [4, 5]]
    graph = {"idx_to_symbol": symbols, "edges": edges, "root": 0, "target": 3, "neg_target": 5}
    example = Example("?", ("Tom is a a.", "Every a is a t."), "Tom is a t.", graph)
    assert choices(example, 0).names == ("Tom", "Sam")
    assert choices(example, 0).right == {"Tom"}
    assert choices(example, 1).names == ("a", "b", "t", "x")
    assert choices(example, 1).right == {"a", "b"}
    assert choices(example, 2) == choices(example, 6)
    assert choices(example, 2).opening == f"{ANSWER_MARK} Tom is a"


def test_right_names_lie_on_paths_that_the_graph_has() -> None:
    for example in PROSQA:
        graph = graph_of(example)
        for thoughts in range(1, len(example.steps)):
            for name in choices(example, thoughts).right:
                reached = graph.distances(graph.root)
                assert reached[graph.symbols.index(name)] == thoughts
                assert graph.target in graph.distances(graph.symbols.index(name))


def test_the_longest_candidate_that_stands_there_is_right() -> None:
    example = Example("?", ("go to ab c, now",), "ab", {"candidates": ["ab", "ab c", "b"]})
    assert choices(example, 0).right == {"ab c"}
    assert choices(example, 0).opening == "go to"
    assert choices(example, 1).right == {"ab"}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, 'neither a graph nor "candidates"'),
        ({"candidates": "AB"}, "neither"),
        ({"candidates": []}, "neither"),
        ({"candidates": ["A", ""]}, "neither"),
        ({"candidates": ["Z"]}, "none of"),
        ({"idx_to_symbol": ["Tom", "a"], "edges": [], "root": 0, "target": 1, "neg_target": 1}, "no path"),
        ({"idx_to_symbol": ["Tom", "a"], "edges": []}, '"root" is missing'),
    ],
)
def test_what_is_lacking_is_said(extra: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        choices(Example("?", ("Then A B.",), "B", extra), 0)
