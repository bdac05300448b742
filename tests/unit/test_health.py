"""Thoughts in good and in bad health, and Wilson's interval."""

import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from latentcot.analysis.health import ThoughtHealth, gradient_warnings
from latentcot.core import Slot
from latentcot.evaluation.health import (
    check_up,
    effective_rank,
    mean_cosine,
    norm_ratio,
    thought_health,
    token_embeddings,
    warnings,
)
from latentcot.evaluation.statistics import wilson
from tests.conftest import checkpoint, tiny_model


def test_token_embeddings_are_what_the_model_makes_of_tokens(model: PreTrainedModel) -> None:
    """Gemma scales the weight that it stores; GPT-2 and OPT add positions to it."""
    fed: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _, __, output: fed.append(output.detach()))
    model(input_ids=torch.tensor([[3, 4, 5]]))
    torch.testing.assert_close(token_embeddings(model)[3:6], fed[0][0])


def test_effective_rank_counts_directions() -> None:
    one = torch.randn(8, generator=torch.Generator().manual_seed(0))
    assert float(effective_rank(one.expand(5, 8))) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(torch.stack([one, -3 * one]))) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(torch.eye(8)[:4])) == pytest.approx(4)
    assert float(effective_rank(2.5 * torch.eye(8)[:4])) == pytest.approx(4)
    uneven = torch.eye(8)[:2] * torch.tensor([[1.0], [0.1]])
    assert 1 < float(effective_rank(uneven)) < 2
    assert effective_rank(torch.randn(3, 4, 8)).shape == (3,)


def test_cosines_and_sizes() -> None:
    same = torch.ones(2, 3, 4)
    assert mean_cosine(same) == pytest.approx(1)
    assert mean_cosine(torch.eye(4)[None, :3]) == pytest.approx(0)
    assert norm_ratio(same * 3, torch.ones(7, 4)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"thought_norm_ratio": 2.0, "thought_cosine": 0.5, "thought_rank": 2.5}, []),
        ({"thought_norm_ratio": 2.0}, []),
        ({}, []),
        ({"thought_norm_ratio": 400.0}, ["400 times as large"]),
        ({"thought_norm_ratio": 0.001}, ["0.001 times as large"]),
        ({"thought_norm_ratio": 1.0, "thought_cosine": 0.999, "thought_rank": 1.01}, ["alike"]),
        ({"thought_norm_ratio": 1.0, "thought_cosine": -0.3, "thought_rank": 1.01}, ["one direction"]),
        ({"thought_norm_ratio": 400.0, "thought_cosine": 0.999, "thought_rank": 1.0}, ["400", "alike"]),
        ({"thought_norm_ratio": 1.0, "thought_cosine": math.nan, "thought_rank": math.nan}, ["not finite"]),
        ({"thought_norm_ratio": math.inf}, ["not finite"]),
    ],
)
def test_what_is_wrong_is_said_in_words(measured: dict[str, float], said: list[str]) -> None:
    found = warnings(measured)
    assert len(found) == len(said)
    assert all(part in words for part, words in zip(said, found, strict=True))


def test_a_thought_that_no_gradient_reaches_is_named() -> None:
    sound = [ThoughtHealth(k, 1.0, [1.0], 0.0, 0.0, gradient) for k, gradient in ((1, 0.5), (2, 1.0))]
    assert gradient_warnings(sound) == []
    (words,) = gradient_warnings([*sound, ThoughtHealth(3, 1.0, [1.0], 0.0, 0.0, 1e-6)])
    assert "thought 3" in words
    assert gradient_warnings([ThoughtHealth(1, 1.0, [1.0], 0.0, 0.0, 0.0)]) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_health_survives_thoughts_that_are_none(value: float) -> None:
    """Those of one question are all zero or not finite: its rank is 1 or NaN, and that of the others as it was."""
    thoughts = torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(0))
    sound = effective_rank(thoughts)
    thoughts[1] = value
    ranks = effective_rank(thoughts)
    torch.testing.assert_close(ranks[[0, 2]], sound[[0, 2]])
    assert float(ranks[1]) == 1 if value == 0 else math.isnan(ranks[1])
    measured = thought_health(checkpoint(tiny_model("gpt2")), thoughts)
    assert all(map(math.isfinite, measured.values())) == (value == 0)


def test_no_thoughts_have_no_health() -> None:
    assert thought_health(checkpoint(tiny_model("gpt2")), torch.zeros(3, 0, 32)) == {}


def test_a_check_up_measures_what_there_is() -> None:
    model = tiny_model("gpt2")
    assert set(check_up(checkpoint(model), ["w1", "w2 w3"])) == {"thought_norm_ratio", "thought_cosine", "thought_rank"}
    assert set(check_up(checkpoint(model, thoughts=1), ["w1"])) == {"thought_norm_ratio"}
    assert check_up(checkpoint(model, thoughts=0), ["w1"]) == {}
    assert check_up(checkpoint(model, Slot.PAUSE), ["w1"]) == {}
    assert check_up(checkpoint(model, Slot.NONE, thoughts=0), ["w1"]) == {}


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_the_shares_from_which_the_sample_is_not_too_far(case: tuple[int, int], level: float) -> None:
    """Its ends are the shares p with |share - p| = z sqrt(p (1 - p) / n): the score test turned round."""
    right, n = case
    low, high = wilson(right, n, level)
    assert 0 <= low <= right / n <= high <= 1
    z = NormalDist().inv_cdf((1 + level) / 2)
    for end in (low, high):
        assert (right / n - end) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-9)
    mirrored = wilson(n - right, n, level)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("right", "n"), [(1, 0), (-1, 5), (6, 5), (0, 0)])
def test_no_share_no_interval(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(right, n)
