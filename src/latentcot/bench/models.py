"""The model that is measured, and its shape."""

from __future__ import annotations

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from latentcot.bench.floor import Shape
from latentcot.checkpoint import from_scratch, start
from latentcot.config import ModelConfig, Scratch
from latentcot.speed.cache import cache_argument
from latentcot.think import batch_plan, last_feed_forward
from latentcot.tokens import MARKERS

VOCABULARY = 50_257 + len(MARKERS)
"""GPT-2's tokens and the markers, for models without a tokenizer."""


def build(base: str | None, scratch: Scratch, trust_remote_code: bool = False) -> PreTrainedModel:
    """`base` with its markers, as a run starts from it; else random weights, which need neither hub nor tokenizer.

    It is on a GPU where there is one.
    """
    if base is None and scratch.tokenizer == "words":
        model = from_scratch(scratch, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    else:
        model, _, _ = start(ModelConfig(base=base, scratch=scratch, trust_remote_code=trust_remote_code), [])
    model.loss_type = "ForCausalLM"  # Which GPT-2 falls back on with a warning.
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    batch_plan(model)  # Not while the first update is timed.
    return model


@torch.no_grad()
def shape_of(model: PreTrainedModel) -> Shape:
    """The shape of a model."""
    config, head = model.config.get_text_config(), model.get_output_embeddings()
    cache = DynamicCache(config=config)
    ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    # What a cache holds says more than configurations, which name their sizes differently.
    model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        use_cache=True,
        **{cache_argument(type(model).forward): cache},
    )
    _, key_heads, _, head_size = cache.layers[0].keys.shape
    products = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]
    part = last_feed_forward(model)
    skipped = set(part.modules()) if part else set()
    return Shape(
        layers=len(cache.layers),
        weights=sum(product.weight.numel() for product in products),
        head=head.weight.numel(),
        width=config.hidden_size,
        attention=config.num_attention_heads * head_size,
        cache=key_heads * head_size,
        left_out=sum(product.weight.numel() for product in products if product in skipped),
    )
