"""Clocks and scales: who is measured when, and what is weighed."""

import pytest
import torch

from latentcot.bench.floor import Sizes
from latentcot.bench.timing import alternate, peak_memory, ratio, speed
from latentcot.bench.workloads import batch_of, coconut_answers, stock_answers
from tests.conftest import VOCABULARY, tiny_model

CPU = torch.device("cpu")


def test_contestants_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []

    def contestant(name: str, seconds: float) -> float:
        calls.append(name)
        return seconds + len(calls)

    seconds = alternate({name: lambda name=name: contestant(name, 0) for name in "ab"}, 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_the_ratio_is_the_median_within_repeats() -> None:
    # The machine was ten times slower in the second repeat: for both.
    assert ratio([1, 20, 3], [1, 10, 2]) == 1.5


@pytest.mark.parametrize("older", [False, True])
def test_the_peak_is_what_is_held_at_once(older: bool) -> None:
    held = [torch.ones(1 << 20)] if older else []

    def work() -> None:
        held.clear()
        first = torch.ones(1 << 18)
        second = torch.ones(1 << 19)
        del first, second
        torch.ones(1 << 18)

    peak = 4 * ((1 << 18) + (1 << 19))
    assert [peak_memory(work, CPU) for _ in range(2)] == [peak, peak]


def test_the_machine_has_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentcot.bench.timing.SQUARES", {"cpu": (64,)})
    found = speed(CPU, "fp32")
    assert found.operations > 0
    assert found.bytes > 0


def test_answers_have_exactly_as_many_tokens_as_asked_for() -> None:
    """Even where the likeliest token is the one that ends a text."""
    model = tiny_model("gpt2")
    batch = batch_of(model, Sizes(2, 5, 2, 1), seed=0)
    model.generation_config.eos_token_id = model.config.eos_token_id = list(range(VOCABULARY))
    assert coconut_answers(model, batch, 4, "fp32").shape == (2, 4)
    assert stock_answers(model, batch, 4, "fp32").shape == (2, 5 + 4)
