"""Names that are exchanged in every epoch change nothing but names."""

import re
from collections.abc import Sequence

import pytest

from latentcot.core import Example, Layout, UserError
from latentcot.curriculum import Curriculum
from latentcot.data.prosqa import CONCEPTS, NAMES, make_splits, named
from latentcot.methods import Coconut
from latentcot.tokens import Markers, texts_of, word_tokenizer
from latentcot.training.dataset import TrainingSet

CURRICULUM = Curriculum(stages=1, epochs_first=1, epochs_per_stage=1, epochs=2)
QUESTIONS = make_splits({"train": 40}, 0, nodes=8, hops=(2, 3))["train"]


def layouts(examples: Sequence[Example], epoch: int, rename: bool = True) -> list[str]:
    """What stage 0 shows of each example in an epoch, in words."""
    tokenizer = word_tokenizer(texts_of([*examples, Example(" ".join(NAMES + CONCEPTS), (), "")]))
    dataset = TrainingSet(examples, tokenizer, Markers(0, 1, 2), Coconut(), CURRICULUM, rename=rename)
    dataset.move(epoch, 0)

    def words(layout: Layout) -> str:
        return tokenizer.decode([*layout.prompt, *layout.target])

    return [words(layout) for layout in dataset.__getitems__(range(len(examples)))]


@pytest.mark.parametrize("examples", [QUESTIONS, [named(question) for question in QUESTIONS]])
def test_a_renamed_example_is_the_same_graph(examples: list[Example]) -> None:
    for plain, renamed in zip(layouts(examples, 0, rename=False), layouts(examples, 0), strict=True):
        before, after = re.findall(r"\w+", plain), re.findall(r"\w+", renamed)
        assert re.sub(r"\w+", "w", plain) == re.sub(r"\w+", "w", renamed)
        table = dict(zip(before, after, strict=True))
        assert [table[word] for word in before] == after
        assert len(set(table.values())) == len(table)
        for kind in (NAMES, CONCEPTS):
            assert all((old in kind) == (new in kind) for old, new in table.items())
        assert all(old == new for old, new in table.items() if old not in NAMES + CONCEPTS)


def test_every_epoch_has_other_names() -> None:
    assert layouts(QUESTIONS, 0) == layouts(QUESTIONS, 0)
    first, second = layouts(QUESTIONS, 0), layouts(QUESTIONS, 1)
    assert not set(first) & set(second)
    assert not set(first) & set(layouts(QUESTIONS, 0, rename=False))


def test_a_tokenizer_without_the_names_is_refused() -> None:
    tokenizer = word_tokenizer(texts_of([Example("A B. From A follow 1 arrows.", (), "B")]))
    with pytest.raises(UserError, match="rename: Alex is no token of this tokenizer"):
        TrainingSet([Example("A B.", (), "B")], tokenizer, Markers(0, 1, 2), Coconut(), CURRICULUM, rename=True)
