"""llama2.c's model and tokenizer files (format v0, as `run.c` reads them) as a Llama model of transformers.

Model: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len), then float32 tensors in the
order of `_shapes`. Tokenizer: the length of the longest token, then score, length and bytes of each token. All are
little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from latentcot.core import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER = struct.Struct("<7i")
_TOKEN = struct.Struct("<fi")
_SPECIAL = {0: "<unk>", 1: "<s>", 2: "</s>"}
_BYTES = range(3, 259)
"""Ids of the 256 byte tokens, as in every SentencePiece vocabulary of Llama."""


@dataclass(frozen=True)
class Sizes:
    """The header. `vocabulary` is negative where the classifier is not shared with the token embeddings."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads


def length(content: bytes) -> int:
    """Bytes that the model takes at the start of a file, by its header."""
    return _HEADER.size + 4 * sum(prod(shape) for shape in _shapes(_sizes(content)).values())


def read_model(content: bytes) -> LlamaForCausalLM:
    """The model; UserError if the file is not as long as its header says."""
    sizes = _sizes(content)
    if len(content) != length(content):
        raise UserError(f"a llama2.c model of these sizes has {length(content):,} bytes, and here are {len(content):,}")
    values = np.frombuffer(content, "<f4", offset=_HEADER.size)
    tensors, at = {}, 0
    for name, shape in _shapes(sizes).items():
        tensors[name] = values[at : at + prod(shape)].reshape(shape)
        at += prod(shape)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=abs(sizes.vocabulary),
            hidden_size=sizes.width,
            intermediate_size=sizes.hidden,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.kv_heads,
            max_position_embeddings=sizes.positions,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=sizes.vocabulary > 0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    state = {name: torch.tensor(array) for name, array in _named(tensors, sizes).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if sizes.vocabulary > 0 else set())
    return model


def read_tokenizer(content: bytes) -> LlamaTokenizer:
    """The tokenizer: byte-pair encoding that takes the merge of the highest score first, and falls back on bytes."""
    pieces, scores, at = [], [], 4
    while at < len(content):
        score, size = _TOKEN.unpack_from(content, at)
        at += _TOKEN.size
        pieces.append(content[at : at + size].decode())
        scores.append(score)
        at += size
    named = {number: f"<0x{number - _BYTES[0]:02X}>" for number in _BYTES} | _SPECIAL
    vocabulary = {named.get(number, piece.replace(" ", "▁")): number for number, piece in enumerate(pieces)}
    return LlamaTokenizer(vocab=vocabulary, merges=_merges(vocabulary, scores), add_bos_token=True)


def _sizes(content: bytes) -> Sizes:
    return Sizes(*_HEADER.unpack_from(content))


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of the file in order, with llama2.c's names; matrices are [out, in]."""
    layers, width, hidden, vocabulary = sizes.layers, sizes.width, sizes.hidden, abs(sizes.vocabulary)
    keys = sizes.kv_heads * sizes.head
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding": (vocabulary, width),
        "rms_att": (layers, width),
        "wq": (layers, width, width),
        "wk": (layers, keys, width),
        "wv": (layers, keys, width),
        "wo": (layers, width, width),
        "rms_ffn": (layers, width),
        "w1": (layers, hidden, width),
        "w2": (layers, width, hidden),
        "w3": (layers, hidden, width),
        "rms_final": (width,),
        "rope_cos": (sizes.positions, sizes.head // 2),
        "rope_sin": (sizes.positions, sizes.head // 2),
    }
    if sizes.vocabulary < 0:
        shapes["wcls"] = (vocabulary, width)
    return shapes


def _named(tensors: dict[str, NDArray[np.float32]], sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    """The tensors by the names of transformers, queries and keys in its order of rotation."""
    state = {"model.embed_tokens.weight": tensors["token_embedding"], "model.norm.weight": tensors["rms_final"]}
    if "wcls" in tensors:
        state["lm_head.weight"] = tensors["wcls"]
    names = {
        "rms_att": "input_layernorm", "wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj",
        "wo": "self_attn.o_proj", "rms_ffn": "post_attention_layernorm", "w1": "mlp.gate_proj", "w2": "mlp.down_proj",
        "w3": "mlp.up_proj",
    }  # fmt: skip
    for old, new in names.items():
        for layer, tensor in enumerate(tensors[old]):
            state[f"model.layers.{layer}.{new}.weight"] = (
                _split_rotation(tensor, sizes.head) if old in ("wq", "wk") else tensor
            )
    return state


def _split_rotation(weight: NDArray[np.float32], head: int) -> NDArray[np.float32]:
    """Rows [H*head, in] from pairs (2i, 2i + 1), which llama2.c rotates, to pairs (i, i + head/2), which transformers
    does."""
    pairs = weight.reshape(-1, head // 2, 2, weight.shape[-1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every split of a token into two, best score of the whole first."""
    found = []
    for piece, number in vocabulary.items():
        if number not in _SPECIAL and number not in _BYTES:
            for cut in range(1, len(piece)):
                left, right = piece[:cut], piece[cut:]
                if left in vocabulary and right in vocabulary:
                    found.append((-scores[number], vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
