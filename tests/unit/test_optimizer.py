"""Muon and AdamW as one optimizer: which of them moves what, and how."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from latentcot.training.optimizer import MuonAndAdamW
from tests.conftest import tiny_model


def stepped(model: PreTrainedModel, parts: Sequence[torch.optim.Optimizer]) -> None:
    """One update of a loss that every parameter takes part in."""
    torch.manual_seed(1)
    sum((parameter * torch.randn_like(parameter)).sum() for parameter in model.parameters()).backward()
    for part in parts:
        part.step()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_it_does_what_the_two_would_do(architecture: str, tied: bool) -> None:
    """Muon on the matrices inside the layers, AdamW on embeddings, head, norms and biases."""
    one, two = (tiny_model(architecture, tie_word_embeddings=tied) for _ in range(2))
    names = {name for name, _ in one.named_parameters()}
    decayed = {name for name in names if "mlp" in name or "embed" in name or "bias" in name}
    stepped(one, [MuonAndAdamW(one, decayed, lr=0.01, beta2=0.95, decay=0.1)])
    inside = {
        id(module.weight)
        for module in two.modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
        and module.weight.ndim == 2
        and not isinstance(module, nn.Embedding)
        and module is not two.get_output_embeddings()
    }
    parts: list[torch.optim.Optimizer] = []
    for name, parameter in two.named_parameters():
        decay = 0.1 if name in decayed else 0.0
        if id(parameter) in inside:
            parts.append(torch.optim.Muon([parameter], lr=0.01, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
        else:
            parts.append(torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.95), weight_decay=decay))
    assert {type(part) for part in parts} == {torch.optim.Muon, torch.optim.AdamW}
    stepped(two, parts)
    for (name, first), second in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(first, second, msg=name)


def test_a_frozen_parameter_stays() -> None:
    model = tiny_model("llama")
    frozen = model.model.layers[0].mlp.up_proj.weight
    frozen.requires_grad_(False)
    optimizer = MuonAndAdamW(model, set(), lr=0.01, beta2=0.95, decay=0.1)
    assert all(parameter is not frozen for group in optimizer.param_groups for parameter in group["params"])
