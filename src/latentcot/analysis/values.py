"""What a model is about to say after k thoughts: the value of every candidate (section 5 of the paper).

After k thoughts and `<eot>` the model would write the next step. A candidate's *value* is the product of the
probabilities of its tokens there, given the words that open the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from latentcot.batch import collate
from latentcot.checkpoint import Checkpoint
from latentcot.core import Layout
from latentcot.think import think


@torch.inference_mode()
def candidate_values(
    checkpoint: Checkpoint, question: str, candidates: Sequence[str], thoughts: Sequence[int], opening: str = ""
) -> list[list[float]]:
    """Values in [0, 1], a list over `candidates` for each number of `thoughts`.

    `opening` is the text that stands before the candidate in a step, without the space between. All candidates and
    numbers of thoughts go through the thought loop as one batch.
    """
    tokenizer = checkpoint.tokenizer
    before = tokenizer.encode(opening, add_special_tokens=False) if opening else []
    texts = [tokenizer.encode(f"{opening} {name}".strip(), add_special_tokens=False) for name in candidates]
    layouts: list[Layout] = []
    for number in thoughts:
        asked = checkpoint.layout(question, number)
        layouts += [Layout(asked.prompt, asked.thoughts, asked.cue, tuple(text), asked.thought_token) for text in texts]
    batch = collate(layouts, tokenizer.pad_token_id).to(checkpoint.model.device)
    logits = think(checkpoint.model, batch).logits.float().log_softmax(dim=-1)
    labels = batch.labels.clamp(min=0)
    picked = logits.gather(2, labels[:, :, None])[:, :, 0].masked_fill(batch.labels < 0, 0.0)
    lead = max(len(layouts[0].cue), 1) - 1 + len(before)  # Columns before the candidate's own tokens.
    values = picked[:, lead:].sum(dim=1).exp().tolist()
    return [values[row : row + len(candidates)] for row in range(0, len(values), len(candidates))]
