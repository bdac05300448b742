"""Tiny random models of many architectures, beside those of conftest.py, and which rows may share a batch on each."""

from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from latentcot.architecture import Together
from tests.conftest import ARCHITECTURES, VOCABULARY, tiny_model

WINDOW = 8
"""Columns: far fewer than the sequences of the tests have."""

SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "dff", "n_inner", "decoder_ffn_dim", "intermediate_size_mlp"), 64),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size", "attention_chunk_size"), WINDOW),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    "num_experts_per_tok": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "vocab_size": VOCABULARY,
}
_MIXED = {"layer_types": ["linear_attention", "full_attention"]}
_DELTA = _MIXED | {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_PER_LAYER = {
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "num_kv_shared_layers": 0,
    "layer_types": ["sliding_attention", "full_attention"],
}

FIELDS: dict[str, dict[str, Any]] = {
    "apertus": {},
    "biogpt": {},
    "bloom": {},
    "bamba": {"attn_layer_indices": [1], **_MAMBA},
    "ctrl": {"n_ctx": 64},
    "falcon_h1": {"mamba_d_ssm": 64, **_MAMBA},
    "gemma3n_text": _PER_LAYER | {"laurel_rank": 8, "activation_sparsity_pattern": None},
    "gemma4_text": _PER_LAYER | {"global_head_dim": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 32, **_MAMBA},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"num_experts_per_tok": 1},
    "mamba": {"state_size": 8},
    "minimax": _MIXED | {"block_size": 16},
    "mistral": {},
    "mpt": {},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 1,
    },
    "olmo_hybrid": _DELTA,
    "phi": {},
    "phi3": {},
    "qwen3_5_text": _DELTA,
    "qwen3_next": _DELTA,
    "smollm3": {"use_sliding_window": True, "no_rope_layer_interval": 2},
    "trocr": {},
}

PLANS: dict[str, Together] = {
    **dict.fromkeys([*ARCHITECTURES, "apertus", "biogpt", "ctrl", "gptj", "phi"], Together.ANY),
    # A window or chunk counts columns; a convolution or a state runs through idle ones; MPT's positions are columns.
    **dict.fromkeys(["gemma3_text", "gpt_neo", "llama4_text", "mistral", "phi3", "smollm3"], Together.SAME_THOUGHTS),
    **dict.fromkeys(["lfm2", "lfm2_moe", "lfm3", "olmo_hybrid", "qwen3_5_text", "qwen3_next"], Together.SAME_THOUGHTS),
    "mpt": Together.SAME_THOUGHTS,
    # TrOCR's positions are columns, those of padding too; Bloom takes no masks but its own.
    **dict.fromkeys(["bloom", "trocr"], Together.SAME_SHAPE),
}
REFUSED = sorted(set(FIELDS) - set(PLANS))
if Version(transformers.__version__) < Version("5.23"):
    # The lowest version allowed masks and keeps the states of some in ways that the probe lets share less, or refuses.
    PLANS |= dict.fromkeys(["ctrl", "qwen3_5_text", "qwen3_next"], Together.SAME_SHAPE)
    REFUSED = sorted({*REFUSED, "lfm2", "lfm2_moe", "olmo_hybrid"})
    # LFM3 is not there yet, and Llama 4's chunks leave padding behind candidates without a key in analyses.
    PLANS = {name: together for name, together in PLANS.items() if name not in {*REFUSED, "lfm3", "llama4_text"}}


def tiny(architecture: str, scale: float | None = 0.2) -> PreTrainedModel:
    """A random model without dropout; weights with standard deviation `scale`, or the architecture's own with None."""
    if architecture in ARCHITECTURES and scale:
        return tiny_model(architecture)
    torch.manual_seed(0)
    known = AutoConfig.for_model(architecture)
    sizes = {name: size for name, size in SIZES.items() if _has(known, name)}
    options = {**sizes, **FIELDS.get(architecture, {}), **ARCHITECTURES.get(architecture, {})}
    config = AutoConfig.for_model(architecture, **options)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and scale:
                parameter.normal_(0, scale)
    return model


def _has(config: Any, name: str) -> bool:
    try:
        return hasattr(config, name)
    except AttributeError:
        return False
    except Exception:  # Gemma 4's head_dim, which may differ between layers: it can be set all the same.
        return True
