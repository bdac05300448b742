"""Quick dropout computes what PyTorch's does, with masks of its own."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import dropout
from latentcot.speed.dropout import quick_dropout
from latentcot.think import target_loss, think
from tests.conftest import tiny_model

P = 0.25
LAYOUTS = [Layout(tuple(range(2, 2 + length)), 2, (5,), (6, 7)) for length in (30, 38)]
DROPOUT = {"attn_pdrop": P, "resid_pdrop": P, "embd_pdrop": P}
MASKS = ["none", "causal", "padded", "added", "shared"]


def training() -> nn.Module:
    return nn.Linear(1, 1).train()


def mask_of(name: str, rows: int, queries: int, keys: int) -> Tensor | None:
    """Queries are the last of the keys; the first three keys of row 0 are padding."""
    if name in ("none", "causal"):
        return None
    behind = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    if name == "shared":
        return behind
    real = torch.ones(rows, 1, 1, keys, dtype=torch.bool)
    real[0, :, :, :3] = False
    mask = behind & real
    return mask if name == "padded" else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("weights", [1, 2**13, 2**20])
@pytest.mark.parametrize("queries", [1, 70, 150])
def test_attention_is_the_formula(
    queries: int, weights: int, name: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropout, "WEIGHTS", weights)
    monkeypatch.setattr(dropout, "QUERIES", 64)
    monkeypatch.setattr(dropout, "FEW", 0)
    rows, heads, keys, size = 3, 4, queries + 13, 8
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(rows, columns, count, size, dtype=torch.double).transpose(1, 2).requires_grad_()
        for columns, count in ((queries, heads), (keys, heads // groups), (keys, heads // groups))
    )
    mask, causal = mask_of(name, rows, queries, keys), name == "causal"
    drawn = []
    draw = dropout.draw
    monkeypatch.setattr(dropout, "draw", lambda shape: drawn.append(draw(shape)) or drawn[-1])
    with quick_dropout(training()):
        found = functional.scaled_dot_product_attention(
            query, key, value, mask, P, causal, scale=0.3, enable_gqa=groups > 1
        )
    # The same in one piece, under the masks that were drawn.
    behind = torch.ones(queries, keys, dtype=torch.bool).tril() if causal else mask
    if behind is None:
        behind = torch.ones(queries, keys, dtype=torch.bool)
    full = behind.expand(rows, 1, queries, keys)
    keep = torch.zeros(rows, heads, queries, keys, dtype=torch.double)
    for piece, bits in zip(dropout._pieces(full, heads, torch.double), drawn, strict=True):
        keep[piece.rows, :, piece.queries, piece.keys] = dropout.kept(bits, P, torch.double)
    shift = torch.zeros(full.shape).masked_fill(~full, -torch.inf) if full.dtype == torch.bool else full
    scores = query @ key.repeat_interleave(groups, 1).mT * 0.3 + shift
    wanted = (scores.softmax(-1) * keep / (1 - P)) @ value.repeat_interleave(groups, 1)
    sees = (shift > -torch.inf).any(-1, keepdim=True)  # What a query without keys gives means nothing.
    torch.testing.assert_close(found.where(sees, 0), wanted.where(sees, 0))
    above = torch.randn_like(found).where(sees, 0)
    grads = torch.autograd.grad(found, (query, key, value), above)
    wanted = torch.where(sees, wanted, 0)
    wanted_grads = torch.autograd.grad(wanted, (query, key, value), above, allow_unused=False)
    for one, other in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(one, other.nan_to_num())


def test_attention_over_many_draws_is_attention_without_dropout() -> None:
    query, key, value = (torch.randn(1, 2, 128, 8) for _ in range(3))
    with quick_dropout(training()):
        draws = [functional.scaled_dot_product_attention(query, key, value, dropout_p=P) for _ in range(400)]
    torch.testing.assert_close(
        torch.stack(draws).mean(0), functional.scaled_dot_product_attention(query, key, value), atol=0.05, rtol=0
    )


def test_attention_in_bfloat16_is_near_that_in_float32() -> None:
    states = [torch.randn(2, 4, 100, 16) for _ in range(3)]
    with quick_dropout(training()):
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            torch.manual_seed(0)
            inputs = [state.to(dtype, copy=True).requires_grad_() for state in states]
            output = functional.scaled_dot_product_attention(*inputs, dropout_p=P)
            output.float().sum().backward()
            found.append([output, *(state.grad for state in inputs)])
            assert all(tensor.dtype == dtype for tensor in found[-1])
    for exact, near in zip(*found, strict=True):
        assert (near.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_training_under_autocast_is_near_that_without(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "FEW", 0)
    model = tiny_model(architecture, **(DROPOUT if architecture == "gpt2" else {"attention_dropout": P})).train()
    found = []
    for enabled in (False, True):
        model.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = target_loss(think(model, collate(LAYOUTS, 0)).logits, collate(LAYOUTS, 0).labels)
        loss.backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    exact, near = found
    assert (near - exact).norm() < 0.1 * exact.norm()


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
        attended = functional.scaled_dot_product_attention(*torch.ones(3, 1, 1, 150, 4), dropout_p=p)
    assert output.isfinite().all()
    assert attended.isfinite().all()


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
    stock = functional.dropout, functional.scaled_dot_product_attention
    with quick_dropout(training()):
        assert functional.dropout is not stock[0]
        with pytest.raises(ValueError, match="dropout probability"), quick_dropout(training()):
            functional.dropout(torch.ones(3), -1)
    assert (functional.dropout, functional.scaled_dot_product_attention) == stock
    with quick_dropout(training().eval()):
        assert functional.dropout is stock[0]
