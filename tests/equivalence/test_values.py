"""A candidate's value, batched over candidates and numbers of thoughts, is what its tokens get one at a time."""

import math

import pytest
import torch

from latentcot.analysis.candidates import candidate_values
from latentcot.core import Layout
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive

CANDIDATES = ["w1", "w2 w3", "w4 w5 w6"]


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3_text"])
@pytest.mark.parametrize("opening", ["", "w7 w8"])
def test_values_are_products_of_token_probabilities(architecture: str, opening: str) -> None:
    thinker = checkpoint(tiny_model(architecture))
    values = candidate_values(thinker, "w9 w8 w7", CANDIDATES, range(3), opening=opening)
    before = len(opening.split())
    for thoughts, row in enumerate(values):
        for name, value in zip(CANDIDATES, row, strict=True):
            asked = thinker.layout("w9 w8 w7", thoughts)
            target = thinker.tokenizer.encode(f"{opening} {name}".strip(), add_special_tokens=False)
            logits = naive.target_logits(thinker.model, Layout(asked.prompt, thoughts, asked.cue, tuple(target)))
            log = logits.log_softmax(dim=-1)[torch.arange(len(target)), torch.tensor(target)]
            assert value == pytest.approx(math.exp(float(log[before:].sum().detach())), rel=1e-4)
