"""The growing cache holds what the stock one holds, without copying it."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2Config, PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed.cache import growing_cache
from latentcot.think import unroll
from tests.conftest import tiny_model

CONFIG = GPT2Config(n_layer=1)
CHANGES: dict[str, Callable[[DynamicCache], object]] = {
    "nothing": lambda cache: None,
    "rows chosen": lambda cache: cache.batch_select_indices(torch.tensor([1, 1, 0])),
    "rows reordered": lambda cache: cache.reorder_cache(torch.tensor([1, 0])),
    "rows repeated": lambda cache: cache.batch_repeat_interleave(2),
    "columns cut off": lambda cache: cache.crop(-2),
    "begun anew": lambda cache: cache.reset(),
}


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


def test_windows_keep_the_stock_layers(model: PreTrainedModel) -> None:
    stock = DynamicCache(config=model.config)
    for ours, theirs in zip(growing_cache(model.config, 5).layers, stock.layers, strict=True):
        assert isinstance(ours, type(theirs))
        assert (type(ours) is type(theirs)) == theirs.is_sliding
