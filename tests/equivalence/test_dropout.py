"""Quick dropout computes what PyTorch's does, with masks of its own."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import attention as quick_attention
from latentcot.speed import dropout
from latentcot.speed.dropout import quick_dropout
from latentcot.think import target_loss, think
from tests.conftest import tiny_model

P = 0.25
LAYOUTS = [Layout(tuple(range(2, 2 + length)), 2, (5,), (6, 7)) for length in (30, 38)]
DROPOUT = {"attn_pdrop": P, "resid_pdrop": P, "embd_pdrop": P}


def training() -> nn.Module:
    return nn.Linear(1, 1).train()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask(p: float) -> None:
    ones = torch.ones(400_000, requires_grad=True)
    with quick_dropout(training()):
        output = functional.dropout(ones, p)
    assert (output == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert output.mean().item() == pytest.approx(1, abs=0.02 / (1 - p))
    assert len(output.unique()) == 2
    output.backward(torch.full_like(output, 3.0))
    torch.testing.assert_close(ones.grad, 3 * output.detach())


def test_neighbours_are_dropped_independently() -> None:
    with quick_dropout(training()):
        gone = functional.dropout(torch.ones(1_000_000), 0.3) == 0
    for step in (1, 2, 3, 4):
        both = (gone[step:] & gone[:-step]).float().mean().item()
        assert both == pytest.approx(0.09, abs=0.002)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9, 1 - 1e-9])
def test_all_or_none_is_left_to_pytorch(p: float) -> None:
    with quick_dropout(training()):
        output = functional.dropout(torch.ones(20_000), p)
    assert output.isfinite().all()


class Counted(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training_draws_no_mask_the_slow_way(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "FEW", 0)
    monkeypatch.setattr(quick_attention, "FEW_WEIGHTS", 0)
    model = tiny_model("gpt2", **DROPOUT).train()
    model.set_attn_implementation(attention)
    losses, batch = [], collate(LAYOUTS, 0)
    for _ in range(2):
        torch.manual_seed(1)
        with Counted() as counted:
            losses.append(target_loss(think(model, batch).logits, batch.labels))
            losses[-1].backward()
        assert counted.calls["random_"] == 4 * (1 + 3 * 2)  # Passes, and masks of embeddings and of two layers.
        assert not counted.calls["bernoulli_"] + counted.calls["native_dropout"]
    assert losses[0] == losses[1]
    assert losses[0] != target_loss(think(model, batch).logits, batch.labels)
    assert losses[0] != target_loss(think(model.eval(), batch).logits, batch.labels)


def test_pytorch_is_left_as_it_was() -> None:
    stock = functional.dropout
    with quick_dropout(training()):
        assert functional.dropout is not stock
        with pytest.raises(ValueError, match="dropout probability"), quick_dropout(training()):
            functional.dropout(torch.ones(3), -1)
    assert functional.dropout is stock
    with quick_dropout(training().eval()):
        assert functional.dropout is stock
