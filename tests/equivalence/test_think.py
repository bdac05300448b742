"""The thought loop equals a naive reference that recomputes the whole sequence without a cache for every thought."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout, UserError
from latentcot.think import batch_plan, target_loss, think
from tests.conftest import tiny_model
from tests.equivalence import naive

BOT, EOT, PAUSE = 37, 38, 39


def layout(prompt: Sequence[int], thoughts: int, target: Sequence[int] = (1, 2, 3), token: int | None = None) -> Layout:
    return Layout((*prompt, BOT), thoughts, (EOT,), tuple(target), token)


RAGGED = [
    layout([5, 6, 7, 8, 9, 10], 3),
    layout([5, 6], 0, [4, 1]),
    layout([3, 4, 5, 9, 12, 11, 2, 8, 30, 31, 7], 1, [9, 8, 7, 6]),
    layout([20], 4, [2]),
]
EVEN = [layout([5, 6, 7], 2), layout([9, 10, 11, 12, 13, 14, 15, 16, 17, 18], 2, [7, 1])]
PAUSES = [layout([5, 6, 7], 3, token=PAUSE), layout([8, 9, 10, 11, 12], 1, token=PAUSE)]
PLAIN = [Layout((5, 6, 7), 0, (), (8, 9, 1)), Layout((9, 8, 7, 6, 5, 4, 3, 2, 11), 0, (), (3, 1))]
SETS = {"ragged": RAGGED, "even": EVEN, "pauses": PAUSES, "plain": PLAIN}


def rows(logits: Tensor, layouts: Sequence[Layout]) -> list[Tensor]:
    """The logits of each row's own targets."""
    return [logits[index, : len(one.target)] for index, one in enumerate(layouts)]


@pytest.mark.parametrize("name", SETS)
def test_logits_equal_the_reference(model: PreTrainedModel, name: str) -> None:
    layouts = SETS[name]
    with torch.no_grad():
        found = think(model, collate(layouts, 0)).logits
        for row, one in zip(rows(found, layouts), layouts, strict=True):
            torch.testing.assert_close(row, naive.target_logits(model, one), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_logits_equal_the_reference_tied_or_not(architecture: str, tied: bool) -> None:
    model = tiny_model(architecture, tie_word_embeddings=tied)
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    test_logits_equal_the_reference(model, "ragged")


def test_loss_and_gradients_equal_the_reference(model: PreTrainedModel) -> None:
    batch = collate(RAGGED, 0)
    loss = target_loss(think(model, batch).logits, batch.labels)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    expected = sum(
        torch.nn.functional.cross_entropy(naive.target_logits(model, one), torch.tensor(one.target), reduction="sum")
        for one in RAGGED
    )
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        scale = parameter.grad.abs().max()
        # Some gradients are zero in exact arithmetic (a bias on all keys), hence the floor.
        assert (found[name] - parameter.grad).abs().max() <= 1e-4 * scale + 1e-6, name


def test_the_gradient_runs_through_the_whole_chain() -> None:
    """The loss depends on every thought that is fed, the first through all that come after it."""
    model, fed = tiny_model("gpt2"), []
    batch_plan(model)  # Finding it takes passes of its own.
    model.register_forward_pre_hook(
        lambda _, __, inputs: fed.append(inputs["inputs_embeds"]) if "inputs_embeds" in inputs else None,
        with_kwargs=True,
    )
    batch = collate([layout([5, 6, 7], 3)], 0)
    loss = target_loss(think(model, batch).logits, batch.labels)
    gradients = torch.autograd.grad(loss, fed)
    assert len(gradients) == 3
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_each_row_gets_what_it_gets_alone(model: PreTrainedModel) -> None:
    with torch.no_grad():
        together = think(model, collate(RAGGED, 0))
        for index, one in enumerate(RAGGED):
            alone = think(model, collate([one], 0))
            expected = alone.logits[0]
            torch.testing.assert_close(together.logits[index, : len(one.target)], expected, atol=1e-5, rtol=0)
            states = together.states[index, -(one.thoughts + 1) :]
            torch.testing.assert_close(states, alone.states[0], atol=1e-5, rtol=0)


def test_left_padding_and_its_id_change_nothing(model: PreTrainedModel) -> None:
    longer = layout(list(range(2, 20)), 2)
    with torch.no_grad():
        alone = think(model, collate([EVEN[0]], 0)).logits[0]
        for pad in (0, 7):
            padded = think(model, collate([EVEN[0], longer], pad)).logits[0]
            torch.testing.assert_close(padded[: len(alone)], alone, atol=1e-5, rtol=0)


def test_zero_thoughts_are_the_stock_forward(model: PreTrainedModel) -> None:
    (one,) = [layout([5, 6, 7, 8], 0)]
    ids = torch.tensor([[*one.prompt, *one.cue, *one.target[:-1]]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits[:, -len(one.target) :]
        torch.testing.assert_close(think(model, collate([one], 0)).logits, expected, atol=1e-5, rtol=0)


def test_pauses_in_several_passes_are_pauses_in_one(model: PreTrainedModel) -> None:
    one_pass = [Layout((*one.prompt, *(PAUSE,) * one.thoughts), 0, one.cue, one.target) for one in PAUSES]
    with torch.no_grad():
        several = rows(think(model, collate(PAUSES, 0)).logits, PAUSES)
        for found, expected in zip(several, rows(think(model, collate(one_pass, 0)).logits, PAUSES), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("layouts", "passes"), [(EVEN, 4), (RAGGED, 6), (PLAIN, 1)])
def test_no_position_is_computed_twice_and_no_logit_in_vain(layouts: list[Layout], passes: int) -> None:
    model = tiny_model("gpt2")
    columns: list[int] = []
    projected: list[int] = []
    batch_plan(model)
    model.transformer.h[0].register_forward_hook(lambda _, args, __: columns.append(args[0].shape[1]))
    model.lm_head.register_forward_hook(lambda _, args, __: projected.append(args[0].shape[1]))
    batch = collate(layouts, 0)
    think(model, batch)
    assert len(columns) == passes
    assert sum(columns) == batch.prompt.shape[1] + int(batch.thoughts.max()) + batch.rest.shape[1]
    assert sum(projected) == batch.rest.shape[1]


@pytest.mark.parametrize("layouts", [EVEN, RAGGED, PLAIN])
def test_the_last_feed_forward_part_is_computed_where_it_is_read(layouts: list[Layout]) -> None:
    model = tiny_model("gpt2")
    columns: list[list[int]] = [[], []]
    batch_plan(model)
    for seen, layer in zip(columns, model.transformer.h, strict=True):
        layer.mlp.c_fc.register_forward_hook(lambda _, args, __, seen=seen: seen.append(args[0].shape[1]))
    batch = collate(layouts, 0)
    think(model, batch)
    assert sum(columns[0]) == batch.prompt.shape[1] + int(batch.thoughts.max()) + batch.rest.shape[1]
    assert sum(columns[1]) == 1 + int(batch.thoughts.max()) + batch.rest.shape[1]
    # Nothing stays behind: the model itself computes all.
    model(input_ids=batch.prompt)
    assert columns[1][-1] == batch.prompt.shape[1]


def test_activation_checkpointing_changes_nothing_without_thoughts() -> None:
    model, batch = tiny_model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).train(), collate(PLAIN, 0)
    weight, gradients = model.transformer.h[-1].mlp.c_fc.weight, []
    for _ in range(2):
        model.zero_grad()
        target_loss(think(model, batch).logits, batch.labels).backward()
        gradients.append(weight.grad)
        model.gradient_checkpointing_enable()
    torch.testing.assert_close(*gradients)


def test_activation_checkpointing_is_refused_in_training() -> None:
    model = tiny_model("gpt2").train()
    model.gradient_checkpointing_enable()
    with pytest.raises(UserError, match="activation"):
        think(model, collate(EVEN, 0))


def test_a_layout_with_thoughts_needs_a_cue() -> None:
    with pytest.raises(ValueError, match="needs a cue"):
        Layout((1, 2), 1, (), (3,))
