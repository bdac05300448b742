"""Quick attention computes what PyTorch's does, with dropout's masks of its own."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import attention, dropout
from latentcot.speed.attention import quick_attention
from latentcot.speed.cache import growing_cache
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
@pytest.mark.parametrize("p", [0.0, P])
@pytest.mark.parametrize("most", [0, 1024])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("weights", [1, 2**13, 2**20])
@pytest.mark.parametrize("queries", [1, 70, 150])
def test_attention_is_the_formula(
    queries: int, weights: int, name: str, most: int, p: float, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, number in {"WEIGHTS": weights, "QUERIES": 64, "KEPT": most, "FEW_WEIGHTS": 0}.items():
        monkeypatch.setattr(attention, constant, number)
    rows, heads, keys, size = 3, 4, queries + 13, 8
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(rows, columns, count, size, dtype=torch.double).transpose(1, 2).requires_grad_()
        for columns, count in ((queries, heads), (keys, heads // groups), (keys, heads // groups))
    )
    mask, causal = mask_of(name, rows, queries, keys), name == "causal"
    drawn = []
    draw = dropout.draw
    monkeypatch.setattr(dropout, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    with quick_attention(training()):
        found = functional.scaled_dot_product_attention(
            query, key, value, mask, p, causal, scale=0.3, enable_gqa=groups > 1
        )
    # The same in one piece, under the masks that were drawn.
    behind = torch.ones(queries, keys, dtype=torch.bool).tril() if causal else mask
    if behind is None:
        behind = torch.ones(queries, keys, dtype=torch.bool)
    full = behind.expand(rows, 1, queries, keys)
    keep = torch.ones(rows, heads, queries, keys, dtype=torch.double)
    if p:
        # Heads of one column that share a key head are its queries.
        shared = groups if queries == 1 and not causal else 1
        kept = keep.view(rows, heads // shared, queries * shared, keys)
        for piece, bits in zip(
            attention._pieces(attention._mask(kept, key, mask, causal), heads // shared), drawn, strict=True
        ):
            kept[piece.rows, :, piece.queries, piece.keys] = dropout.kept(bits, p, torch.double)
    shift = torch.zeros(full.shape).masked_fill(~full, -torch.inf) if full.dtype == torch.bool else full
    scores = query @ key.repeat_interleave(groups, 1).mT * 0.3 + shift
    wanted = (scores.softmax(-1) * keep / (1 - p)) @ value.repeat_interleave(groups, 1)
    sees = (shift > -torch.inf).any(-1, keepdim=True)  # What a query without keys gives means nothing.
    torch.testing.assert_close(found.where(sees, 0), wanted.where(sees, 0))
    above = torch.randn_like(found).where(sees, 0)
    grads = torch.autograd.grad(found, (query, key, value), above)
    wanted = torch.where(sees, wanted, 0)
    wanted_grads = torch.autograd.grad(wanted, (query, key, value), above, allow_unused=False)
    for one, other in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(one, other.nan_to_num())


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("p", [0.0, P])
@pytest.mark.parametrize("queries", [1, 16])
@pytest.mark.parametrize("groups", [1, 2])
def test_attention_over_a_cache_is_that_over_its_columns(
    groups: int, queries: int, p: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FEW_WEIGHTS", 0)
    rows, heads, keys, size = 3, 4, queries + 13, 8
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(rows, count, columns, size, dtype=torch.double, requires_grad=True)
        for columns, count in ((queries, heads), (keys, heads // groups), (keys, heads // groups))
    )
    mask, causal = mask_of(name, rows, queries, keys), name == "causal"
    drawn = []
    draw = dropout.draw
    monkeypatch.setattr(dropout, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    cache = growing_cache(GPT2Config(n_layer=1), keys + 5)
    with quick_attention(training()):
        held = cache.update(key, value, 0)
        found = functional.scaled_dot_product_attention(query, *held, mask, p, causal, enable_gqa=groups > 1)
    keep = torch.zeros(rows, heads, queries, keys, dtype=torch.double) + (not p)
    if p:
        bits = drawn[0].view(rows, heads, queries, -1)[..., :keys]
        keep[..., : bits.shape[-1]] = dropout.kept(bits, p, torch.double)
    scores = query @ key.repeat_interleave(groups, 1).mT * size**-0.5 + attention._mask(query, key, mask, causal)
    wanted = (scores.softmax(-1) * keep / (1 - p)) @ value.repeat_interleave(groups, 1)
    sees = (scores > -1e300).any(-1, keepdim=True)
    above = torch.randn_like(found).where(sees, 0)
    torch.testing.assert_close(found.where(sees, 0), wanted.where(sees, 0))
    for one, other in zip(
        *(torch.autograd.grad(output, (query, key, value), above) for output in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_attention_over_many_draws_is_attention_without_dropout() -> None:
    query, key, value = (torch.randn(1, 2, 128, 8) for _ in range(3))
    with quick_attention(training()):
        draws = [functional.scaled_dot_product_attention(query, key, value, dropout_p=P) for _ in range(400)]
    torch.testing.assert_close(
        torch.stack(draws).mean(0), functional.scaled_dot_product_attention(query, key, value), atol=0.05, rtol=0
    )


def test_attention_in_bfloat16_is_near_that_in_float32() -> None:
    states = [torch.randn(2, 4, 100, 16) for _ in range(3)]
    with quick_attention(training()):
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
    monkeypatch.setattr(attention, "FEW_WEIGHTS", 0)
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


def test_weights_of_many_keys_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    states = torch.randn(3, 1, 2, 100, 8, requires_grad=True)
    kept = []
    for most in (99, 100):
        monkeypatch.setattr(attention, "KEPT", most)
        with quick_attention(training()):
            output = functional.scaled_dot_product_attention(*states, dropout_p=P)
        kept.append(sum(tensor.numel() for tensor in output.grad_fn.saved_tensors) - states.numel())  # type: ignore[union-attr]
    assert kept == [0, 2 * 100 * 100]


@pytest.mark.parametrize("p", [1e-9, 1 - 1e-9, 1.0])
def test_all_or_none_is_left_to_pytorch(p: float) -> None:
    with quick_attention(training()):
        output = functional.scaled_dot_product_attention(*torch.ones(3, 1, 1, 150, 4), dropout_p=p)
    assert output.isfinite().all()


def test_pytorch_is_left_as_it_was() -> None:
    stock = functional.scaled_dot_product_attention
    with quick_attention(training()):
        assert functional.scaled_dot_product_attention is not stock
    assert functional.scaled_dot_product_attention is stock
    with quick_attention(training().eval()):
        assert functional.scaled_dot_product_attention is stock
