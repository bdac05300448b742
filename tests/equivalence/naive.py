"""The reference: one row at a time, no cache, the whole sequence recomputed for every thought and every token."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latentcot.core import Layout


def embedded(model: PreTrainedModel, layout: Layout) -> tuple[Tensor, list[Tensor]]:
    """Embeddings of prompt, thoughts and cue, [1, L, H], and the states that were fed back."""
    embed, body, states = model.get_input_embeddings(), model.base_model, []
    sequence = embed(torch.tensor([layout.prompt]))
    for _ in range(layout.thoughts):
        output = body(inputs_embeds=sequence.clone(), use_cache=False, output_hidden_states=True)
        # Some (Llama 4) have no body apart from the model itself, whose output has the states of all layers alone.
        state = (output.last_hidden_state if hasattr(output, "last_hidden_state") else output.hidden_states[-1])[:, -1:]
        states.append(state)
        fed = state if layout.thought_token is None else embed(torch.tensor([[layout.thought_token]]))
        sequence = torch.cat([sequence, fed], dim=1)
    return torch.cat([sequence, embed(torch.tensor([layout.cue], dtype=torch.long))], dim=1), states


def target_logits(model: PreTrainedModel, layout: Layout) -> Tensor:
    """Logits that predict each target token, [T, V]."""
    sequence, _ = embedded(model, layout)
    target = torch.tensor([layout.target[:-1]], dtype=torch.long)
    sequence = torch.cat([sequence, model.get_input_embeddings()(target)], dim=1)
    return model(inputs_embeds=sequence.clone(), use_cache=False).logits[0, -len(layout.target) :]


@torch.no_grad()
def greedy(model: PreTrainedModel, layout: Layout, budget: int, eos: int) -> list[int]:
    """Greedy tokens up to eos, which is left out."""
    sequence, _ = embedded(model, layout)
    written: list[int] = []
    while len(written) < budget:
        token = int(model(inputs_embeds=sequence.clone(), use_cache=False).logits[0, -1].argmax())
        if token == eos:
            break
        written.append(token)
        sequence = torch.cat([sequence, model.get_input_embeddings()(torch.tensor([[token]]))], dim=1)
    return written
