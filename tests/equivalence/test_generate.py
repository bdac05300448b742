"""Batched, cached answers equal greedy decoding without a cache, one question at a time."""

import pytest
import torch
from transformers import PreTrainedModel

from latentcot.checkpoint import load
from latentcot.core import Slot, UserError
from latentcot.generate import answer
from latentcot.tokens import encode_questions
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive

QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15", "w3 w2", "w20 w21 w22"]


@pytest.mark.parametrize("slot", [Slot.STATE, Slot.PAUSE, Slot.PAUSE_MULTIPASS, Slot.NONE])
def test_answers_equal_the_reference(model: PreTrainedModel, slot: Slot) -> None:
    thinker = checkpoint(model, slot, thoughts=0 if slot is Slot.NONE else 3)
    found = answer(thinker, QUESTIONS, batch_size=3)
    for question, prediction in zip(QUESTIONS, found, strict=True):
        written = naive.greedy(model, thinker.layout(question), 6, thinker.tokenizer.eos_token_id)
        assert prediction.text == thinker.tokenizer.decode(written, skip_special_tokens=True)
        assert prediction.thoughts == (3 if slot is Slot.STATE else 0)
        assert prediction.tokens == len(written) + prediction.thoughts


def test_zero_thoughts_are_the_stock_generate(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    for question, prediction in zip(QUESTIONS, answer(thinker, QUESTIONS, thoughts=0), strict=True):
        layout = thinker.layout(question, 0)
        ids = torch.tensor([[*layout.prompt, *layout.cue]])
        mask = torch.ones_like(ids)
        output = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=6, pad_token_id=0)
        text = thinker.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
        assert prediction.text == text


def test_the_batch_size_changes_nothing(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    assert answer(thinker, QUESTIONS, batch_size=1) == answer(thinker, QUESTIONS, batch_size=5)


def test_a_saved_checkpoint_answers_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    thinker = checkpoint(tiny_model("llama"))
    thinker.save(tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert loaded.frame == thinker.frame
    assert answer(loaded, QUESTIONS) == answer(thinker, QUESTIONS)


def test_sampling_is_reproducible_for_a_seed_and_differs_from_greedy() -> None:
    thinker = checkpoint(tiny_model("gpt2"))

    def drawn(seed: int) -> list[str]:
        torch.manual_seed(seed)
        return [p.text for p in answer(thinker, QUESTIONS, do_sample=True, temperature=3.0)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_limits() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    assert answer(thinker, []) == []
    with pytest.raises(UserError, match="positions"):
        answer(thinker, QUESTIONS, thoughts=70)
    with pytest.raises(UserError, match="thoughts is -1"):
        answer(thinker, QUESTIONS, thoughts=-1)
    fits = 64 - len(encode_questions(QUESTIONS[:1], thinker.tokenizer)[0]) - 2
    (prediction,) = answer(thinker, QUESTIONS[:1], thoughts=fits - 1)
    assert prediction.tokens <= fits
