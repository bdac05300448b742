"""Several threads of one process: PyTorch is left as it was, and each thread computes what it would alone."""

import threading

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed.exchange import exchanged
from latentcot.think import batch_plan, target_loss, think
from tests.conftest import tiny_model

FUNCTIONS = [(functional, "scaled_dot_product_attention"), (functional, "dropout"), (functional, "linear")]
FUNCTIONS += [(torch, "addmm")]


def untrained() -> PreTrainedModel:
    return tiny_model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


def train(model: PreTrainedModel, seed: int, gradients: dict[int, list[torch.Tensor]]) -> None:
    batch = collate([Layout((5 + seed, 6, 7, 37), 2, (38,), (1, 2)), Layout((8, 37), 1, (38,), (3,))], 0)
    for _ in range(5):
        target_loss(think(model.train(), batch).logits, batch.labels).backward()
    gradients[seed] = [parameter.grad for parameter in model.parameters()]


def test_training_in_two_threads_leaves_pytorch_as_it_was() -> None:
    before = [getattr(module, name) for module, name in FUNCTIONS]
    alone: dict[int, list[torch.Tensor]] = {}
    together: dict[int, list[torch.Tensor]] = {}
    for seed in range(3):
        train(untrained(), seed, alone)
    threads = [threading.Thread(target=train, args=(untrained(), seed, together)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(module, name) for module, name in FUNCTIONS] == before
    assert together.keys() == alone.keys()
    for seed, gradients in alone.items():
        torch.testing.assert_close(together[seed], gradients)


def test_a_second_thread_waits_and_sees_the_stock_function_until_then() -> None:
    stock, entered, seen = functional.dropout, threading.Event(), []
    states = torch.ones(3)

    def other() -> None:
        seen.append(functional.dropout(states, 0.0))
        entered.set()
        with exchanged((functional, "dropout", lambda own, *_: "second")):
            seen.append(functional.dropout(states))

    thread = threading.Thread(target=other)
    with exchanged((functional, "dropout", lambda own, *_: "first")):
        thread.start()
        assert entered.wait(10)
        with exchanged((functional, "dropout", lambda own, *_: ("inner", own(states)))):
            assert functional.dropout(states) == ("inner", "first")
        assert functional.dropout(states) == "first"
        assert len(seen) == 1
    thread.join()
    torch.testing.assert_close(seen[0], states)
    assert seen[1] == "second"
    assert functional.dropout is stock


def test_an_error_leaves_pytorch_as_it_was() -> None:
    stock = functional.dropout
    with pytest.raises(KeyError), exchanged((functional, "dropout", lambda own, *_: own)):
        raise KeyError
    assert functional.dropout is stock


def test_threads_find_one_plan() -> None:
    model, plans = tiny_model("llama"), []
    threads = [threading.Thread(target=lambda: plans.append(batch_plan(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plans) == 4
    assert all(plan is plans[0] for plan in plans)
