"""The re-creation of the published algorithm and the thought loop are one computation."""

import pytest
import torch
from transformers import PreTrainedModel

from benchmarks import official
from latentcot.batch import collate
from latentcot.bench.workloads import coconut_answers
from latentcot.core import NO_LABEL, Layout
from latentcot.think import target_loss, think
from tests.conftest import tiny_model
from tests.equivalence.test_think import EVEN, PLAIN, RAGGED, layout


@pytest.mark.parametrize("layouts", [EVEN, PLAIN, RAGGED], ids=["even", "plain", "ragged"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_loss_and_gradients_are_ours(architecture: str, layouts: list[Layout]) -> None:
    model, batch = tiny_model(architecture), collate(layouts, 0)
    ours = target_loss(think(model, batch).logits, batch.labels) / (batch.labels != NO_LABEL).sum()
    ours.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    theirs = official.loss(model, official.pad(layouts))
    theirs.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        assert (found[name] - parameter.grad).abs().max() <= 1e-4 * parameter.grad.abs().max() + 1e-5, name


def test_greedy_answers_are_ours(model: PreTrainedModel) -> None:
    questions = [layout(prompt, 3, ()) for prompt in ([5, 6, 7, 8], [9], [4, 12, 30, 2, 11, 8])]
    ours = coconut_answers(model, collate(questions, 0), 5, "fp32").tolist()
    assert ours == [official.answer(model, question, 5) for question in questions]


def test_it_computes_what_is_described_and_nothing_less() -> None:
    """Passes of P, 1, ..., 1 + rest columns, logits at all of them; an answer's tokens run the whole sequence again."""
    model, columns, projected = tiny_model("gpt2"), [], []
    model.transformer.h[0].register_forward_hook(lambda _, args, __: columns.append(args[0].shape[1]))
    model.lm_head.register_forward_hook(lambda _, args, __: projected.append(args[0].shape[1]))
    one = layout([5, 6, 7], 3, [8, 9])
    official.loss(model, official.pad([one]))
    assert columns == [4, 1, 1, 1 + 1 + 2]
    assert projected == columns
    columns.clear()
    official.answer(model, layout([5, 6, 7], 3, ()), 3)
    assert columns == [4, 1, 1, 2, 9, 10]
