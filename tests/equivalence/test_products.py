"""Weights' gradients from all passes at once are the sum of those of each."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import products
from latentcot.speed.products import joint_gradients
from latentcot.think import target_loss, think
from tests.conftest import ARCHITECTURES, tiny_model


@pytest.fixture(autouse=True)
def every_weight_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 0)


BATCH = collate([Layout((5, 6, 7), 3, (8,), (4, 3)), Layout((5, 6, 9, 2), 1, (8,), (3,))], 0)


def without_dropout(architecture: str, **changes: object) -> PreTrainedModel:
    names = ("attn_pdrop", "resid_pdrop", "embd_pdrop", "dropout", "attention_dropout", "hidden_dropout")
    return tiny_model(architecture, **dict.fromkeys(names, 0.0), **changes)


def gradients(model: PreTrainedModel, autocast: bool = False) -> dict[str, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = target_loss(think(model, BATCH).logits, BATCH.labels)
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_each_pass_summed(architecture: str, tied: bool) -> None:
    model = without_dropout(architecture, tie_word_embeddings=tied)
    found = gradients(model.train())
    exact, joint = gradients(model.double().eval()), gradients(model.train())
    assert found.keys() == joint.keys() == exact.keys()
    for name, gradient in exact.items():
        torch.testing.assert_close(joint[name], gradient, atol=1e-9, rtol=1e-9, msg=name)
        assert (found[name] - gradient).norm() < 1e-5 * gradient.norm() + 1e-5, name


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_gradients_under_autocast_are_as_near_as_of_each_pass(architecture: str) -> None:
    model = without_dropout(architecture)
    exact, near = gradients(model.eval()), gradients(model.eval(), autocast=True)
    for name, found in gradients(model.train(), autocast=True).items():
        assert found.dtype == torch.float32
        assert (found - exact[name]).norm() < 1.5 * (near[name] - exact[name]).norm() + 1e-3, name


def test_frozen_weights_and_those_trained_alone() -> None:
    model = without_dropout("llama").train()
    model.requires_grad_(False)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    wanted, found = gradients(model.eval()), gradients(model.train())
    assert list(found) == ["model.layers.0.mlp.up_proj.weight"]
    torch.testing.assert_close(found, wanted)


def test_a_backward_pass_that_does_not_reach_the_weights_leaves_nothing() -> None:
    model = without_dropout("gpt2").train()
    wanted = gradients(model)
    model.zero_grad()
    loss = target_loss(think(model, BATCH).logits, BATCH.labels)
    assert torch.autograd.grad(loss, model.transformer.wpe.weight, retain_graph=True)[0].any()
    loss.backward(retain_graph=True)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name])
    loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, 2 * wanted[name])


class Products(TorchDispatchMode):
    """Counts products by the shape that they give."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[tuple[int, ...]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        output = func(*args, **kwargs or {})
        if func.overloadpacket.__name__ in ("mm", "addmm", "addmm_"):
            self.shapes[tuple(output.shape)] += 1
        return output


def test_a_weight_has_two_products_whatever_the_number_of_thoughts() -> None:
    model = without_dropout("gpt2", n_inner=80).train()
    loss = target_loss(think(model, BATCH).logits, BATCH.labels)
    with Products() as counted:
        loss.backward()
    # Two layers, in each of which one weight has this shape: the product of the prompt's pass and that of all others.
    assert counted.shapes[32, 80] == counted.shapes[80, 32] == 2 * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.double, torch.bfloat16])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("rows", [(1,), (3, 1), (4, 70)])
def test_a_product_is_pytorchs(rows: tuple[int, ...], turned: bool, biased: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    input, bias = torch.randn(*rows, 48, dtype=dtype), torch.randn(80, dtype=dtype) if biased else None
    weight = torch.randn(48, 80, dtype=dtype).T if turned else torch.randn(80, 48, dtype=dtype)
    found, wanted = products.times(input, weight, bias), functional.linear(input, weight, bias)
    assert found.dtype == dtype
    near = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, wanted, **near)


def test_pytorch_is_left_as_it_was() -> None:
    stock = functional.linear, torch.addmm
    with joint_gradients(nn.Linear(1, 1).train()):
        assert functional.linear is not stock[0]
        with pytest.raises(RuntimeError, match="shape"), joint_gradients(nn.Linear(1, 1).train()):
            functional.linear(torch.ones(3), torch.ones(2, 2))
    assert (functional.linear, torch.addmm) == stock
    with joint_gradients(nn.Linear(1, 1).eval()):
        assert functional.linear is stock[0]
