"""A candidate's value, read from a fork of the cache, is what its tokens get one at a time without one."""

import math
from dataclasses import replace

import pytest
import torch

from latentcot.analysis.values import candidate_values
from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, Frame, Slot, UserError
from latentcot.data.choices import choices
from latentcot.think import batch_plan
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive

# The names of a question have different numbers of tokens, and the questions different lengths and openings.
EXAMPLES = [
    Example("w9 w8 w7", ("w10 w1 w11", "w12 w13 w2 w3"), "w1", {"candidates": ["w1", "w2 w3", "w4 w5 w6"]}),
    Example("w3", ("w20 w3",), "w7", {"candidates": ["w3", "w7"]}),
    Example("w5 w6 w7 w8 w9 w10 w11 w12 w13 w14", (), "w4", {"candidates": ["w4"]}),
]


def reference(thinker: Checkpoint, example: Example, thoughts: int, name: str) -> float:
    """The product of the probabilities of a name's tokens after the opening."""
    opening, asked = choices(example, thoughts).opening, thinker.layout(example.question, thoughts)
    target = thinker.tokenizer.encode(f"{opening} {name}".strip(), add_special_tokens=False)
    logits = naive.target_logits(thinker.model, replace(asked, target=tuple(target)))
    log = logits.log_softmax(dim=-1)[torch.arange(len(target)), torch.tensor(target)]
    before = len(thinker.tokenizer.encode(opening, add_special_tokens=False))
    return math.exp(float(log[before:].sum().detach()))


@pytest.mark.parametrize("batch_size", [2, 64])
@pytest.mark.parametrize("slot", [Slot.STATE, Slot.PAUSE, Slot.PAUSE_MULTIPASS])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3_text"])
def test_values_are_products_of_token_probabilities(architecture: str, slot: Slot, batch_size: int) -> None:
    thinker = checkpoint(tiny_model(architecture), slot)
    values = candidate_values(thinker, EXAMPLES, range(4), batch_size=batch_size)
    assert [(value.index, value.thoughts, value.name) for value in values] == [
        (index, number, name)
        for index, example in enumerate(EXAMPLES)
        for number in range(4)
        for name in example.extra["candidates"]
    ]
    for value in values:
        expected = reference(thinker, EXAMPLES[value.index], value.thoughts, value.name)
        assert value.value == pytest.approx(expected, rel=1e-4)
        assert 0 <= value.value <= 1


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3_text"])
def test_pauses_without_a_marker_after_them(architecture: str) -> None:
    """The row PauseToken: the target begins right after the last pause."""
    thinker = checkpoint(tiny_model(architecture), Slot.PAUSE)
    thinker = replace(thinker, frame=Frame(Slot.PAUSE, pause=thinker.frame.pause))
    values = candidate_values(thinker, EXAMPLES, range(4), batch_size=2)
    assert len(values) == 4 * sum(len(example.extra["candidates"]) for example in EXAMPLES)
    for value in values:
        expected = reference(thinker, EXAMPLES[value.index], value.thoughts, value.name)
        assert value.value == pytest.approx(expected, rel=1e-4)


def test_without_thoughts_too() -> None:
    thinker = checkpoint(tiny_model("gpt2"), Slot.NONE, thoughts=0)
    for value in candidate_values(thinker, EXAMPLES[:2], [0]):
        assert value.value == pytest.approx(reference(thinker, EXAMPLES[value.index], 0, value.name), rel=1e-4)


def test_only_the_numbers_asked_for_come_back_and_are_the_same() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    everything = candidate_values(thinker, EXAMPLES, range(4))
    assert candidate_values(thinker, EXAMPLES, [1, 3]) == [value for value in everything if value.thoughts in (1, 3)]


def test_a_question_is_computed_once() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    batch_plan(thinker.model)  # Its probe takes passes that are none of the question's.
    columns: list[tuple[int, int]] = []
    thinker.model.transformer.h[0].register_forward_hook(lambda _, args, __: columns.append(tuple(args[0].shape[:2])))
    candidate_values(thinker, EXAMPLES[:1], range(3))
    prompt = len(thinker.layout(EXAMPLES[0].question).prompt)
    thoughts = [(1, 1)] * 2
    assert [shape for shape in columns if shape[0] == 1] == [(1, prompt), *thoughts]
    assert [shape[0] for shape in columns if shape[0] != 1] == [3, 3, 3]


def test_no_room_for_the_candidates() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    long = Example(" ".join(["w1"] * 57), (), "w2", {"candidates": ["w2", "w3 w4 w5 w6"]})
    with pytest.raises(UserError, match="a candidate need"):
        candidate_values(thinker, [long], [2])
