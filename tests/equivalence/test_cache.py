"""The growing cache holds what the stock one holds, without copying it."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, GPT2Config, PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import attention
from latentcot.speed.attention import quick_attention
from latentcot.speed.cache import growing_cache
from latentcot.think import unroll
from tests.conftest import tiny_model

CONFIG = GPT2Config(n_layer=1)
SIZE = 32
CHANGES: dict[str, Callable[[DynamicCache], object]] = {
    "nothing": lambda cache: None,
    "rows chosen": lambda cache: cache.batch_select_indices(torch.tensor([1, 1, 0])),
    "rows reordered": lambda cache: cache.reorder_cache(torch.tensor([1, 0])),
    "rows repeated": lambda cache: cache.batch_repeat_interleave(2),
    "columns cut off": lambda cache: cache.crop(-2),
    "begun anew": lambda cache: cache.reset(),
}


def attended(cache: DynamicCache, steps: list[int], change: str, ours: bool) -> tuple[list[Tensor], list[Tensor]]:
    """What passes of so many columns give, each of which goes on from the one before, and what went into them.

    After the second pass, the cache is changed, and a copy of it goes on as well.
    """
    torch.manual_seed(0)
    model = nn.Linear(1, 1).train(ours)
    rows, came, outputs, inputs, others = 2, torch.zeros(()), [], [], []
    with quick_attention(model):
        for number, columns in enumerate(steps):
            new = torch.randn(3, rows, 3, columns, SIZE, dtype=torch.double, requires_grad=True)
            inputs.append(new)
            if number == 2:
                other = copy.copy(cache)
                other.layers = [copy.copy(layer) for layer in cache.layers]
                CHANGES[change](cache)
                others.append(functional.scaled_dot_product_attention(new[0][:2], *other.update(*new[1:, :2], 0)))
            query, key, value = new + came
            output = functional.scaled_dot_product_attention(query, *cache.update(key, value, 0))
            came = output.mean()
            outputs.append(output)
            if number == 1:
                rows = {"rows chosen": 3, "rows repeated": 4}.get(change, rows)
    return [*outputs, *others], inputs


GRADIENTS = [change for change in CHANGES if change != "begun anew"]


def states(columns: int, rows: int = 2) -> tuple[Tensor, Tensor]:
    keys, values = torch.randn(2, rows, 3, columns, 4)
    return keys, values


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("room", [5, 6, 100])
def test_holds_what_the_stock_cache_holds(room: int, change: str) -> None:
    caches = growing_cache(CONFIG, room), DynamicCache(config=CONFIG)
    torch.manual_seed(0)
    for step in (5, 1, 1, 70, 1):
        rows = 2 if caches[0].layers[0].keys is None else len(caches[0].layers[0].keys)
        new = states(step, rows)
        for found, wanted in zip(*(cache.update(*new, 0) for cache in caches), strict=True):
            torch.testing.assert_close(found, wanted, atol=0, rtol=0)
        if step == 1 and caches[1].get_seq_length() == 6:
            for cache in caches:
                CHANGES[change](cache)
        assert caches[0].get_seq_length() == caches[1].get_seq_length()


def test_copies_grow_apart() -> None:
    cache = growing_cache(CONFIG, 10)
    before = [tensor.clone() for tensor in cache.update(*states(3), 0)]
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    new, others = states(1), states(1)
    held, others_held = cache.update(*new, 0), other.update(*others, 0)
    for index in range(2):
        torch.testing.assert_close(held[index], torch.cat([before[index], new[index]], dim=2), atol=0, rtol=0)
        torch.testing.assert_close(others_held[index], torch.cat([before[index], others[index]], dim=2), atol=0, rtol=0)


@pytest.mark.parametrize("grad", [True, False])
def test_thoughts_and_the_rest_copy_nothing(grad: bool) -> None:
    model, batch = tiny_model("gpt2"), collate([Layout((5, 6, 7), 3, (8, 9), (4, 3)), Layout((5, 6), 1, (8,), (3,))], 0)
    with torch.set_grad_enabled(grad):
        places = [[layer.keys.data_ptr() for layer in latent.cache.layers] for latent in unroll(model, batch)]
    assert places == [places[0]] * 4


@pytest.mark.parametrize("change", GRADIENTS)
@pytest.mark.parametrize("room", [5, 100])
@pytest.mark.parametrize("steps", [[5, 1, 1, 3, 1], [5, 1, 20, 1, 1], [1, 1, 1]])
def test_late_gradients_are_those_of_the_stock_cache(
    steps: list[int], room: int, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FEW_WEIGHTS", 0)
    grads = []
    for cache, ours in ((growing_cache(CONFIG, room), True), (DynamicCache(config=CONFIG), False)):
        outputs, inputs = attended(cache, steps, change, ours)
        loss = torch.stack([output.pow(2).sum() for output in outputs]).sum()
        # One that stops halfway, as when the gradient of a thought is asked for, leaves nothing to the next.
        halfway = torch.autograd.grad(loss, inputs[2], retain_graph=True)
        grads.append(
            [*halfway, *torch.autograd.grad(loss, inputs, retain_graph=True), *torch.autograd.grad(loss, inputs)]
        )
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted)


class Written(TorchDispatchMode):
    """Elements of all results that are not views."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        output = func(*args, **kwargs or {})
        if isinstance(output, Tensor) and not func.is_view:
            self.elements += output.numel()
        return output


def test_a_thought_writes_no_gradient_of_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "FEW_WEIGHTS", 0)
    columns, written = 1000, []
    for thoughts in (2, 3):
        outputs, _ = attended(growing_cache(CONFIG, 2000), [columns] + [1] * thoughts, "nothing", True)
        with Written() as counted:
            outputs[thoughts].sum().backward()
        written.append(counted.elements)
    assert written[1] - written[0] < 2 * 3 * columns * SIZE


def test_windows_keep_the_stock_layers(model: PreTrainedModel) -> None:
    stock = DynamicCache(config=model.config)
    for ours, theirs in zip(growing_cache(model.config, 5).layers, stock.layers, strict=True):
        assert isinstance(ours, type(theirs))
        assert (type(ours) is type(theirs)) == theirs.is_sliding
