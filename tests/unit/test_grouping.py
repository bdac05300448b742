"""The order of an epoch: every example once, like lengths together, the same for the same seed, epoch and stage."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Example
from latentcot.curriculum import Curriculum
from latentcot.data import prosqa
from latentcot.methods import Coconut
from latentcot.tokens import Markers, texts_of, word_tokenizer
from latentcot.training.dataset import Collator, Fed, TrainingSet
from latentcot.training.grouping import LengthGrouped

CURRICULUM = Curriculum(stages=2, epochs_first=1, epochs_per_stage=1, epochs=3)
GROUP = 8


def training_set(examples: Sequence[Example], seed: int = 0) -> TrainingSet:
    return TrainingSet(examples, word_tokenizer(texts_of(examples)), Markers(0, 1, 2), Coconut(), CURRICULUM, seed=seed)


@pytest.fixture(scope="module")
def questions() -> list[Example]:
    return prosqa.make_splits({"train": 500}, 0)["train"]


def padding(dataset: TrainingSet, order: Sequence[int]) -> float:
    fed, collate = Fed(), Collator(0)
    for first in range(0, len(order), GROUP):
        fed.count(collate(dataset.__getitems__(order[first : first + GROUP])))
    return fed.padding


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=60), group=st.integers(1, 9)
)
def test_every_example_comes_once(lengths: list[tuple[int, int]], group: int) -> None:
    dataset = training_set([Example("w " * words + "x", ("y z",) * steps, "x") for words, steps in lengths])
    order = list(LengthGrouped(dataset, group))
    assert sorted(order) == list(range(len(lengths)))
    assert len(LengthGrouped(dataset, group)) == len(lengths)


def test_the_order_hangs_on_seed_epoch_and_stage(questions: list[Example]) -> None:
    dataset = training_set(questions)
    first = list(LengthGrouped(dataset, GROUP))
    np.random.seed(5)  # Nothing may hang on what the process did before.
    assert list(LengthGrouped(training_set(questions), GROUP)) == first
    assert list(LengthGrouped(training_set(questions, seed=1), GROUP)) != first
    dataset.move(1, 0)
    assert list(LengthGrouped(dataset, GROUP)) != first


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_little_of_a_batch_is_padding(stage: int, questions: list[Example]) -> None:
    dataset = training_set(questions)
    dataset.move(stage, stage)
    order = list(LengthGrouped(dataset, GROUP))
    assert padding(dataset, order) < 0.1
    assert padding(dataset, sorted(order)) > 0.15  # In no order at all.
    # Groups come in random order, or training would walk from the short questions to the long ones.
    firsts = dataset.samples.questions()[order[::GROUP]]
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.3
