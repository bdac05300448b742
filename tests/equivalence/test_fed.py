"""Other states in the thoughts' place: what is fed is what the model sees, in one thought loop with all else."""

import pytest
import torch
from transformers import PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Layout, Slot, UserError
from latentcot.generate import answer, thoughts_of
from latentcot.think import fork, read, roll, think, unroll
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive

QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15", "w3 w2"]


def test_thoughts_are_the_states_that_are_fed_back(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    found = thoughts_of(thinker, QUESTIONS, batch_size=3)
    assert found.shape == (4, 3, 32)
    for question, thoughts in zip(QUESTIONS, found, strict=True):
        _, states = naive.embedded(model, thinker.layout(question))
        torch.testing.assert_close(thoughts, torch.cat(states, dim=1)[0].detach(), atol=1e-5, rtol=0)


def test_feeding_the_models_own_states_changes_nothing(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    own = thoughts_of(thinker, QUESTIONS)
    assert answer(thinker, QUESTIONS, fed=own, batch_size=3) == answer(thinker, QUESTIONS)


def test_what_is_fed_stands_where_thoughts_stood(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    fed = torch.randn((2, 3, 32), generator=torch.Generator().manual_seed(1))
    layouts = [thinker.layout(question) for question in QUESTIONS[:2]]
    batch = collate(layouts, 0)
    with torch.no_grad():
        found = read(model, roll(model, batch, fed), batch.rest, batch.rest_mask)
        for row, (layout, states) in enumerate(zip(layouts, fed, strict=True)):
            embed = model.get_input_embeddings()
            prompt, cue = embed(torch.tensor([layout.prompt])), embed(torch.tensor([layout.cue]))
            expected = model(inputs_embeds=torch.cat([prompt, states[None], cue], dim=1), use_cache=False).logits[0, -1]
            torch.testing.assert_close(found[row, -1], expected, atol=1e-4, rtol=0)


def test_each_question_is_fed_its_own_rows_whatever_the_batches() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    fed = torch.randn((4, 3, 32), generator=torch.Generator().manual_seed(2)) * 5
    together = answer(thinker, QUESTIONS, fed=fed)
    alone = [answer(thinker, [q], fed=fed[i : i + 1])[0] for i, q in enumerate(QUESTIONS)]
    assert together == alone
    assert together != answer(thinker, QUESTIONS)


def test_a_fork_leaves_the_original_as_it_was(model: PreTrainedModel) -> None:
    """Reading from forks after every thought and then going on gives what one pass gives."""
    layouts = [Layout((5, 6, 7, 8, 9, 10, 11, 12, 13, 37), 2, (38,), (1, 2)), Layout((5, 6, 37), 2, (38,), (3,))]
    batch = collate(layouts, 0)
    rows = torch.tensor([1, 0, 1])
    with torch.no_grad():
        for number, latent in enumerate(unroll(model, batch)):
            forked = read(model, fork(latent, rows), batch.rest[rows], batch.rest_mask[rows])
            shorter = [Layout(one.prompt, number, one.cue, one.target) for one in layouts]
            expected = think(model, collate(shorter, 0)).logits[rows]
            torch.testing.assert_close(forked, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(latent.states, think(model, batch).states, atol=1e-5, rtol=0)


def test_rows_without_continuous_thoughts_have_none() -> None:
    for slot in (Slot.PAUSE, Slot.PAUSE_MULTIPASS, Slot.NONE):
        thinker = checkpoint(tiny_model("gpt2"), slot, thoughts=0 if slot is Slot.NONE else 3)
        with pytest.raises(UserError, match="no continuous thoughts"):
            thoughts_of(thinker, QUESTIONS)
    with pytest.raises(UserError, match="number of thoughts is 0"):
        thoughts_of(checkpoint(tiny_model("gpt2")), QUESTIONS, thoughts=0)
