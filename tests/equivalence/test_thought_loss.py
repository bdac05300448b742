"""What thoughts are taught to hold: the loss equals a plain reckoning, and asking for it changes nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from latentcot.batch import collate, with_idle_rows
from latentcot.core import Layout
from latentcot.think import think, thought_loss
from tests.equivalence import naive
from tests.equivalence.test_think import RAGGED

TAUGHT = [((5,), (7, 9)), (), ((30, 31, 2), (4,)), ((), (6, 8, 10, 12))]
"""Of the rows of `RAGGED`, which have 3, 0, 1 and 4 thoughts: fewer sets than thoughts, more, and an empty one."""


def taught() -> list[Layout]:
    return [replace(layout, taught=sets) for layout, sets in zip(RAGGED, TAUGHT, strict=True)]


def reckoned(model: PreTrainedModel, layout: Layout) -> Tensor:
    """Sum over a row's taught thoughts of sum_t (1/m) log((1/m) / p_t)."""
    total = torch.zeros(())
    _, states = naive.embedded(model, layout)
    for state, tokens in zip(states, layout.taught, strict=False):
        said = model.get_output_embeddings()(state)[0, 0].log_softmax(dim=-1)
        total = total + sum((-said[token] - torch.tensor(len(tokens)).log()) / len(tokens) for token in tokens)
    return total


def test_loss_and_gradients_equal_the_reference(model: PreTrainedModel) -> None:
    batch = with_idle_rows(collate(taught(), 0), [5])
    assert batch.taught is not None
    loss = thought_loss(think(model, batch).said, batch.thoughts, batch.taught)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    expected = sum(reckoned(model, layout) for layout in taught())
    expected.backward()
    assert loss > 1
    torch.testing.assert_close(loss, expected.detach(), atol=1e-4, rtol=1e-4)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.abs().max()
            assert (found[name] - parameter.grad).abs().max() <= 1e-4 * scale + 1e-6, name


def test_teaching_changes_no_logits_and_no_states(model: PreTrainedModel) -> None:
    with torch.no_grad():
        plain, asked = think(model, collate(RAGGED, 0)), think(model, collate(taught(), 0))
        torch.testing.assert_close(asked.logits, plain.logits)
        torch.testing.assert_close(asked.states, plain.states)
        assert plain.said.shape[1] == 0
        torch.testing.assert_close(asked.said, model.get_output_embeddings()(asked.states), atol=1e-5, rtol=0)


def test_it_is_zero_where_each_thought_holds_its_tokens_alike() -> None:
    said = torch.full((1, 3, 10), -1e4)
    said[0, 1, [2, 5]] = 3.0
    said[0, 2, 7] = 1.0
    wanted = torch.tensor([[[2, 5], [7, -100]]])
    thoughts = torch.tensor([1])  # The first column is idle: the row's thought is fed the second state.
    assert thought_loss(said, thoughts, wanted[:, :1]).item() == pytest.approx(0, abs=1e-6)
    assert thought_loss(said, thoughts, wanted[:, 1:]).item() > 1
    assert thought_loss(said, torch.tensor([2]), wanted).item() > 1
    assert thought_loss(said, thoughts, torch.full((1, 2, 3), -100)).item() == 0


def test_no_thoughts_are_taught_nothing() -> None:
    assert collate([replace(RAGGED[1], taught=((3,),))], 0).taught is None
