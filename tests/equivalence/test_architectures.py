"""Whatever the architecture: every row gets what it would get alone, or the model is refused by name."""

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout, UserError
from latentcot.generate import answer, thoughts_of
from latentcot.think import batch_plan, prove_exact, target_loss, think, unroll
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive
from tests.equivalence.architectures import PLANS, REFUSED, tiny

RAGGED = [
    Layout((*range(5, 20), 37), 3, (38,), (1, 2, 3)),
    Layout((5, 6, 37), 0, (38,), (4, 1)),
    Layout((3, 4, 5, 9, 12, 11, 2, 8, 30, 31, 7, 37), 1, (38,), (9, 8, 7, 6)),
    Layout((20, 37), 3, (38,), (2,)),
]
QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15"]


@pytest.fixture(scope="module", params=PLANS)
def named(request: pytest.FixtureRequest) -> tuple[str, PreTrainedModel]:
    return request.param, tiny(request.param)


def test_the_plan_is_found(named: tuple[str, PreTrainedModel]) -> None:
    architecture, model = named
    plan = batch_plan(model)
    assert (plan.together, plan.refusal) == (PLANS[architecture], None)


def test_logits_and_gradients_equal_the_reference(named: tuple[str, PreTrainedModel]) -> None:
    _, model = named
    batch = collate(RAGGED, 0)
    logits = think(model, batch).logits
    target_loss(logits, batch.labels).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    expected = [naive.target_logits(model, one) for one in RAGGED]
    for row, one, wanted in zip(logits, RAGGED, expected, strict=True):
        torch.testing.assert_close(
            row[: len(one.target)], wanted, atol=1e-4 * float(wanted.detach().abs().max()), rtol=0
        )
    targets = torch.tensor([token for one in RAGGED for token in one.target])
    functional.cross_entropy(torch.cat(expected), targets, reduction="sum").backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.abs().max()
            assert (found[name] - parameter.grad).abs().max() <= 1e-3 * scale + 1e-5, name
    model.zero_grad()


@pytest.mark.parametrize("thoughts", [0, 3])
def test_answers_and_thoughts_equal_the_reference(named: tuple[str, PreTrainedModel], thoughts: int) -> None:
    thinker = checkpoint(tiny(named[0]))
    found = answer(thinker, QUESTIONS, thoughts=thoughts, batch_size=3)
    for question, prediction in zip(QUESTIONS, found, strict=True):
        written = naive.greedy(thinker.model, thinker.layout(question, thoughts), 6, thinker.tokenizer.eos_token_id)
        assert prediction.text == thinker.tokenizer.decode(written, skip_special_tokens=True)
    if thoughts:
        for question, own in zip(QUESTIONS, thoughts_of(thinker, QUESTIONS, thoughts=thoughts), strict=True):
            _, states = naive.embedded(thinker.model, thinker.layout(question, thoughts))
            expected = torch.cat(states, dim=1)[0].detach()
            torch.testing.assert_close(own, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(
    "architecture", sorted({"gpt2", "gpt_neo", "lfm2", "lfm3", "mistral", "mpt", "qwen3_next", "trocr"} & set(PLANS))
)
def test_the_plan_is_the_same_for_weights_as_a_run_from_scratch_has_them(architecture: str) -> None:
    """Their logits show less of what goes wrong, and their gradients show it."""
    plan = batch_plan(tiny(architecture, scale=None))
    assert (plan.together, plan.refusal) == (PLANS[architecture], None)


@pytest.mark.parametrize("architecture", REFUSED)
@torch.no_grad()
def test_others_are_refused_by_name_before_anything_is_trained(architecture: str) -> None:
    model, thinking = tiny(architecture), collate(RAGGED, 0)
    for refuse in (lambda: prove_exact(model, RAGGED[0]), lambda: think(model, thinking)):
        with pytest.raises(UserError, match=f"^{architecture} .*cannot have continuous thoughts"):
            refuse()
    prove_exact(model, RAGGED[1])
    plain = [Layout((3, 4, 5, 6), 0, (), (1, 2)), Layout((7, 8), 0, (), (4,))]
    for row, one in zip(think(model, collate(plain, 0)).logits, plain, strict=True):
        ids = torch.tensor([[*one.prompt, *one.target[:-1]]])
        expected = model(input_ids=ids, use_cache=False).logits[0, len(one.prompt) - 1 :]
        torch.testing.assert_close(row[: len(one.target)], expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_the_plan_is_found_once_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5).train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    plan = batch_plan(model)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    passes: list[object] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    assert batch_plan(model) is plan
    assert not passes


def test_splitting_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny("mistral")
    for _ in range(2):
        batch_plan(model)
    (line,) = capsys.readouterr().err.splitlines()
    assert "mistral" in line
    assert "by number of thoughts" in line
    batch_plan(tiny("gpt2"))
    assert not capsys.readouterr().err


def test_rows_that_cannot_share_a_batch_are_not_unrolled_together() -> None:
    for architecture, layouts in (("mistral", RAGGED), ("bloom", [RAGGED[0], Layout((7, 37), 3, (38,), (2,))])):
        with pytest.raises(ValueError, match="cannot share a batch"):
            list(unroll(tiny(architecture), collate(layouts, 0)))
