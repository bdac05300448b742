"""What the thoughts of an example are taught to hold."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from latentcot.config import DataConfig, RunConfig, TrainConfig
from latentcot.core import Example, Layout, UserError
from latentcot.curriculum import Curriculum
from latentcot.data import walks
from latentcot.data.graph import graph_of
from latentcot.data.prosqa import CONCEPTS, NAMES, frontiers, make_splits, named
from latentcot.methods import Coconut, Method, PauseAsThought, PauseMultipass
from latentcot.tokens import Markers, texts_of, word_tokenizer
from latentcot.training.dataset import TrainingSet

QUESTIONS = make_splits({"train": 30}, 0, nodes=12, hops=(2, 4))["train"]
NAMED = [named(question) for question in QUESTIONS]
STAGES = Curriculum(stages=4, epochs_first=1, epochs_per_stage=1, epochs=5)
TOKENIZER = word_tokenizer(texts_of([*QUESTIONS, Example(" ".join(NAMES + CONCEPTS), (), "")]))


def layouts(
    examples: Sequence[Example],
    stage: int = 4,
    *,
    method: Method | None = None,
    curriculum: Curriculum = STAGES,
    rename: bool = False,
    frontier: bool = True,
) -> list[Layout]:
    dataset = TrainingSet(
        examples,
        TOKENIZER,
        Markers(0, 1, 2),
        method or Coconut(),
        curriculum,
        rename=rename,
        teach=True,
        frontier=frontier,
    )
    dataset.move(stage, stage)
    return dataset.__getitems__(range(len(examples)))


def words(layout: Layout) -> list[set[str]]:
    """What each thought is taught to hold, in words."""
    return [set(TOKENIZER.decode(list(tokens)).split()) for tokens in layout.taught]


def test_a_frontier_is_what_so_many_facts_lead_to() -> None:
    facts = "Every a is a b. Tom is a a. Every b is a d. Tom is a b. Every c is a d. Every a is a c. Bob is a c."
    expected = [["Tom"], ["a", "b"], ["b", "c", "d"], ["d"]]
    assert frontiers(f"{facts} Is Tom a d or e?") == expected
    assert frontiers(f"{facts} Is Tom a?") == expected  # As walks ask.
    assert frontiers(f"{facts} Is Bob a d or e?") == [["Bob"], ["c"], ["d"]]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Every a is a b. Every b is a a. Tom is a a. Is Tom a b or c?", "in a circle"),
        ("Every a is a b. Is Tom a b or c?", "no ProsQA question"),
        ("Anna has 3 apples. How many has she?", "no ProsQA question"),
    ],
)
def test_what_has_no_frontier_is_told(question: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        frontiers(question)


def test_each_step_of_a_path_is_in_its_frontier() -> None:
    for example in QUESTIONS:
        graph, found = graph_of(example), frontiers(example.question)
        path = graph.follow(example.steps)
        assert all(graph.symbols[node] in names for node, names in zip(path, found, strict=False))
        assert set().union(*found) == {graph.symbols[node] for node in graph.distances(graph.root)}


@pytest.mark.parametrize("rename", [False, True])
def test_thoughts_are_taught_the_frontiers_of_the_question_as_it_stands(rename: bool) -> None:
    asked = walks.make_splits({"train": 10}, 1, nodes=12, hops=(2, 4), form="asked")["train"]
    for layout in layouts([*NAMED, *map(named, asked)], rename=rename):
        question = TOKENIZER.decode(list(layout.prompt)).strip("\n")
        assert words(layout) == [set(names) for names in frontiers(question)[:4]]
        assert layout.thoughts == 4


def test_without_frontiers_thoughts_are_taught_their_steps() -> None:
    for example, layout in zip(NAMED, layouts(NAMED, 2, frontier=False), strict=True):
        assert words(layout) == [{step.strip()} for step in example.steps[:2]]
    twice = replace(STAGES, thoughts_per_step=2)
    for example, layout in zip(NAMED, layouts(NAMED, 2, frontier=False, curriculum=twice), strict=True):
        assert words(layout) == [{step.strip()} for step in example.steps[:2] for _ in range(2)]


@pytest.mark.parametrize("method", [PauseAsThought(), PauseMultipass()])
def test_pauses_are_taught_nothing(method: Method) -> None:
    assert not any(layout.taught for layout in layouts(NAMED, method=method))


def test_stage_0_has_nothing_to_teach() -> None:
    assert not any(layout.taught for layout in layouts(NAMED, 0))


def test_a_frontier_that_nothing_would_teach_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.frontier is what train.thought_loss teaches: give that a weight"):
        RunConfig(data=DataConfig(frontier=True))
    with pytest.raises(UserError, match=r"train.thought_loss is -1: give 0 or more"):
        TrainConfig(thought_loss=-1)


def test_a_record_without_a_frontier_is_named() -> None:
    strange = Example("Is Tom a rompus or zumpus?", ("Tom",), "Tom is a rompus.")
    with pytest.raises(UserError, match=r"data.frontier: record 31 of data.train: no ProsQA question"):
        layouts([*NAMED, strange])
    with pytest.raises(UserError, match=r"data.frontier: record 1 of data.train: its steps are not names in one line"):
        layouts(QUESTIONS)
