"""What the interventions do to thoughts, and what that does to answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentcot.analysis.faithfulness import INTERVENTIONS, faithfulness, frozen, mean, noise, shuffled, swapped
from latentcot.core import Example, Prediction, UserError
from latentcot.generate import answer, thoughts_of
from latentcot.tokens import final_answer
from tests.conftest import checkpoint, tiny_model

QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7", "w3 w2", "w20 w21"]


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def thoughts() -> torch.Tensor:
    return torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(3))


def as_sets(thoughts: torch.Tensor) -> list[set[tuple[float, ...]]]:
    return [{tuple(state) for state in one} for one in thoughts.tolist()]


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_interventions_keep_the_shape_and_change_the_thoughts(name: str, thoughts: torch.Tensor) -> None:
    before = thoughts.clone()
    found = INTERVENTIONS[name](thoughts, drawn())
    assert found.shape == thoughts.shape
    assert not any(torch.equal(a, b) for a, b in zip(found, thoughts, strict=True))
    assert torch.equal(INTERVENTIONS[name](thoughts, drawn()), found)
    assert torch.equal(thoughts, before)


def test_shuffled_thoughts_are_the_same_in_another_order(thoughts: torch.Tensor) -> None:
    assert as_sets(shuffled(thoughts, drawn())) == as_sets(thoughts)
    two = torch.arange(400.0).reshape(200, 2, 1)  # Half of the drawn orders would change nothing.
    assert torch.equal(shuffled(two, drawn()), two.flip(1))


def test_swapped_thoughts_are_each_anothers_once(thoughts: torch.Tensor) -> None:
    found = swapped(thoughts, drawn())
    assert {one.numpy().tobytes() for one in found} == {one.numpy().tobytes() for one in thoughts}


def test_noise_has_the_norms_and_no_more(thoughts: torch.Tensor) -> None:
    torch.testing.assert_close(noise(thoughts, drawn()).norm(dim=-1), thoughts.norm(dim=-1))


def test_the_mean_is_the_same_for_all_and_frozen_thoughts_are_the_first(thoughts: torch.Tensor) -> None:
    torch.testing.assert_close(mean(thoughts, drawn())[5], thoughts.mean(dim=0))
    assert torch.equal(frozen(thoughts, drawn())[:, 3], thoughts[:, 0])


@pytest.mark.parametrize("intervention", [shuffled, frozen])
def test_one_thought_stays_as_it_is(intervention) -> None:  # type: ignore[no-untyped-def]
    thinker = checkpoint(tiny_model("gpt2"), thoughts=1)
    own = thoughts_of(thinker, QUESTIONS)
    assert torch.equal(intervention(own, drawn()), own)
    assert answer(thinker, QUESTIONS, fed=intervention(own, drawn())) == answer(thinker, QUESTIONS)


def test_accuracy_is_counted_under_each_intervention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gold answers are what the untouched model writes, so it is right and whatever changes is wrong."""
    thinker = checkpoint(tiny_model("gpt2"))

    def marked(*args: Any, **options: Any) -> list[Prediction]:
        """An untrained model seldom writes the mark, without which no answer is right."""
        return [replace(written, text=f"### {written.text}") for written in answer(*args, **options)]

    monkeypatch.setattr("latentcot.analysis.faithfulness.answer", marked)
    written = [final_answer(prediction.text) for prediction in answer(thinker, QUESTIONS)]
    examples = [Example(question, (), text) for question, text in zip(QUESTIONS, written, strict=True)]
    found = {replaced.intervention: replaced for replaced in faithfulness(thinker, examples)}
    assert list(found) == ["none", *INTERVENTIONS]
    assert found["none"].right == found["none"].n == 5
    assert found["none"].unchanged == 1
    for replaced in found.values():
        assert replaced.accuracy == replaced.right / 5 == replaced.unchanged
        assert replaced.low <= replaced.accuracy <= replaced.high
    assert found["noise of the same norm"].right < 5


def test_an_answer_is_unchanged_whatever_is_written_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong answers may be unchanged too, and right ones may have changed."""
    written = iter(
        [
            ["w1 ### w2", "### w3"],  # Untouched.
            ["### ### w2", "w9 ### w3,"],  # The texts differ, the answers do not.
            ["### w2", "### w4"],
            *[["### w5", "### w4"]] * (len(INTERVENTIONS) - 2),
        ]
    )
    monkeypatch.setattr(
        "latentcot.analysis.faithfulness.answer", lambda *_, **__: [Prediction(text, 1, 1) for text in next(written)]
    )
    examples = [Example("w1", (), "w2"), Example("w2", (), "w4")]
    found = faithfulness(checkpoint(tiny_model("gpt2")), examples)
    assert [one.unchanged for one in found] == [1, 1, 0.5, 0, 0, 0]
    assert [one.right for one in found] == [1, 1, 2, 1, 1, 1]


def test_one_question_has_no_other_to_take_thoughts_from() -> None:
    with pytest.raises(UserError, match="2 or more"):
        faithfulness(checkpoint(tiny_model("gpt2")), [Example("w1", (), "w2")])
