"""Tiny random models of every supported architecture; no network, one torch thread."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from latentcot.checkpoint import Checkpoint
from latentcot.core import Frame, Slot
from latentcot.tokens import add_markers, word_tokenizer

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "untimed", deadline=None
)  # A test is about results, whatever else the machine does.
hypothesis.settings.load_profile("untimed")

ARCHITECTURES = {
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 64},
    "llama": {"intermediate_size": 64, "num_key_value_heads": 1},
    "qwen2": {"intermediate_size": 64, "num_key_value_heads": 1},
    "qwen3": {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16},
    # The window is far shorter than the sequences of the tests.
    "gemma3_text": {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}
VOCABULARY = 40
WORDS = [f"w{number}" for number in range(VOCABULARY - 9)]


def tiny_model(architecture: str, **changes: object) -> PreTrainedModel:
    """A random model without dropout, hidden size 32, 2 layers, 64 positions."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    options = {**sizes, **ARCHITECTURES[architecture], **special, "vocab_size": VOCABULARY, **changes}
    config = AutoConfig.for_model(architecture, **options)
    # Eager models have dropout off in eval mode; wide initial weights keep the states of tokens apart.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def tokenizer() -> PreTrainedTokenizerBase:
    return word_tokenizer([" ".join(WORDS)])


def checkpoint(model: PreTrainedModel, slot: Slot = Slot.STATE, thoughts: int = 3) -> Checkpoint:
    tokens = tokenizer()
    markers = add_markers(tokens, model)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokens.eos_token_id
    frame = Frame(slot, (markers.bot,), (markers.eot,), markers.pause if slot is not Slot.STATE else None)
    return Checkpoint(model, tokens, Frame() if slot is Slot.NONE else frame, thoughts, "row", max_new_tokens=6)
