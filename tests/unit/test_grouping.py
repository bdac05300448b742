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
from latentcot.training.grouping import LengthGrouped, SortedUpdates

CURRICULUM = Curriculum(stages=2, epochs_first=1, epochs_per_stage=1, epochs=3)
GROUP = 8


def training_set(examples: Sequence[Example], seed: int = 0) -> TrainingSet:
    return TrainingSet(examples, word_tokenizer(texts_of(examples)), Markers(0, 1, 2), Coconut(), CURRICULUM, seed=seed)


@pytest.fixture(scope="module")
def questions() -> list[Example]:
    return prosqa.make_splits({"train": 500}, 0)["train"]


def padding(dataset: TrainingSet, order: Sequence[int], rows: int = GROUP) -> float:
    fed, collate = Fed(), Collator(0)
    for first in range(0, len(order), rows):
        fed.count(collate(dataset.__getitems__(order[first : first + rows])))
    return fed.padding


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=60), group=st.integers(1, 9)
)
def test_every_example_comes_once(lengths: list[tuple[int, int]], group: int) -> None:
    dataset = training_set([Example("w " * words + "x", ("y z",) * steps, "x") for words, steps in lengths])
    for sampler in (LengthGrouped(dataset, group), SortedUpdates(dataset, group, 1), SortedUpdates(dataset, group, 3)):
        assert sorted(sampler) == list(range(len(lengths)))
        assert len(sampler) == len(lengths)


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


UPDATE = 32


def updates(order: Sequence[int]) -> list[list[int]]:
    return [list(order[first : first + UPDATE]) for first in range(0, len(order), UPDATE)]


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_an_update_is_drawn_at_random_however_it_is_cut(epoch: int, questions: list[Example]) -> None:
    """Its examples are a slice of a random order, whatever the stage and the micro-batches; only their order varies."""
    dataset = training_set(questions)
    drawn = np.random.default_rng([0, epoch]).permutation(len(questions)).tolist()
    for stage, rows in ((0, 32), (0, 8), (2, 8), (2, 1)):
        dataset.move(epoch, stage)
        order = list(SortedUpdates(dataset, UPDATE, rows))
        assert [sorted(update) for update in updates(order)] == [sorted(update) for update in updates(drawn)]


def test_updates_have_the_mix_of_lengths_of_the_data() -> None:
    """Mean steps of an update vary as in random drawing: by the data's deviation over the root of the update's size.
    Grouped across updates, nearly every one has its own number of steps."""
    examples = prosqa.make_splits({"train": 3200}, 0)["train"]
    dataset, steps = training_set(examples), np.array([len(example.steps) for example in examples])
    expected = steps.std() / UPDATE**0.5
    means = [steps[update].mean() for update in updates(list(SortedUpdates(dataset, UPDATE, 8)))]
    assert np.std(means) == pytest.approx(expected, rel=0.25)
    across = [steps[update].mean() for update in updates(list(LengthGrouped(dataset, UPDATE)))]
    assert np.std(across) > 3 * expected


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_micro_batches_of_a_sorted_update_pad_less(stage: int, questions: list[Example]) -> None:
    dataset = training_set(questions)
    dataset.move(0, stage)
    drawn = np.random.default_rng([0, 0]).permutation(len(questions)).tolist()
    shares = [padding(dataset, list(SortedUpdates(dataset, UPDATE, rows)), rows) for rows in (4, 8, 16)]
    assert shares == sorted(shares)
    for rows, share in zip((4, 8, 16), shares, strict=True):
        assert share < 0.75 * padding(dataset, drawn, rows)
    whole = SortedUpdates(dataset, UPDATE, UPDATE)  # One micro-batch pads as it was drawn.
    assert padding(dataset, list(whole), UPDATE) == padding(dataset, drawn, UPDATE)
