"""Conversions of models that are fetched equal the formats' own arithmetic."""

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latentcot.checkpoint import start
from latentcot.config import ModelConfig
from latentcot.core import UserError
from latentcot.fetch import convert, llama2c
from tests.conftest import tiny_model

WIDTH, HIDDEN, LAYERS, HEADS, VOCABULARY, POSITIONS = 16, 24, 2, 4, 277, 32


def model_file(kv_heads: int, shared: bool) -> tuple[bytes, dict[str, Any]]:
    """A random llama2.c v0 file and its tensors, as run.c lays them out."""
    random, head = np.random.default_rng(0), WIDTH // HEADS
    angles = np.outer(np.arange(POSITIONS), 10000.0 ** (-np.arange(0, head, 2) / head))
    tensors: dict[str, Any] = {
        "embedding": random.normal(size=(VOCABULARY, WIDTH)),
        "rms_att": random.uniform(0.5, 1.5, (LAYERS, WIDTH)),
        "wq": random.normal(0, 0.4, (LAYERS, WIDTH, WIDTH)),
        "wk": random.normal(0, 0.4, (LAYERS, kv_heads * head, WIDTH)),
        "wv": random.normal(0, 0.4, (LAYERS, kv_heads * head, WIDTH)),
        "wo": random.normal(0, 0.4, (LAYERS, WIDTH, WIDTH)),
        "rms_ffn": random.uniform(0.5, 1.5, (LAYERS, WIDTH)),
        "w1": random.normal(0, 0.4, (LAYERS, HIDDEN, WIDTH)),
        "w2": random.normal(0, 0.4, (LAYERS, WIDTH, HIDDEN)),
        "w3": random.normal(0, 0.4, (LAYERS, HIDDEN, WIDTH)),
        "rms_final": random.uniform(0.5, 1.5, WIDTH),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    if not shared:
        tensors["classifier"] = random.normal(size=(VOCABULARY, WIDTH))
    sizes = (WIDTH, HIDDEN, LAYERS, HEADS, kv_heads, VOCABULARY if shared else -VOCABULARY, POSITIONS)
    return struct.pack("<7i", *sizes) + b"".join(t.astype("<f4").tobytes() for t in tensors.values()), tensors


def forward(tensors: dict[str, Any], kv_heads: int, tokens: list[int]) -> Any:
    """run.c's forward pass, token by token: rotation of neighbouring pairs, one key head for several query heads."""
    head, logits = WIDTH // HEADS, []
    keys: list[list[Any]] = [[] for _ in range(LAYERS)]
    values: list[list[Any]] = [[] for _ in range(LAYERS)]

    def norm(x: Any, weight: Any) -> Any:
        return weight * x / np.sqrt((x * x).mean() + 1e-5)

    def rotate(x: Any, position: int) -> Any:
        pairs = x.reshape(-1, head // 2, 2)
        cos, sin = tensors["cos"][position], tensors["sin"][position]
        first, second = pairs[..., 0], pairs[..., 1]
        return np.stack([first * cos - second * sin, first * sin + second * cos], -1).reshape(-1, head)

    for position, token in enumerate(tokens):
        x = tensors["embedding"][token]
        for layer in range(LAYERS):
            inner = norm(x, tensors["rms_att"][layer])
            query = rotate(tensors["wq"][layer] @ inner, position)
            keys[layer].append(rotate(tensors["wk"][layer] @ inner, position))
            values[layer].append((tensors["wv"][layer] @ inner).reshape(-1, head))
            mixed = []
            for number in range(HEADS):
                shared = number * kv_heads // HEADS
                scores = np.array([key[shared] @ query[number] for key in keys[layer]]) / np.sqrt(head)
                weights = np.exp(scores - scores.max())
                mixed.append(sum(w * v[shared] for w, v in zip(weights / weights.sum(), values[layer], strict=True)))
            x = x + tensors["wo"][layer] @ np.concatenate(mixed)
            inner = norm(x, tensors["rms_ffn"][layer])
            gate = tensors["w1"][layer] @ inner
            x = x + tensors["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (tensors["w3"][layer] @ inner))
        logits.append(tensors.get("classifier", tensors["embedding"]) @ norm(x, tensors["rms_final"]))
    return np.array(logits)


PIECES = ["<unk>", "\n<s>\n", "\n</s>\n", *(chr(number) for number in range(256)), "  ", "he", "er", "her", " h", "lo"]
PIECES += [*" helort", " he", "llo", " her", "hel", "lo t"]
SCORES = [0.0] * 259 + [-1e9, -1.0, -2.0, -9.0, -4.0, -5.0] + [-100.0] * 7 + [-3.0, -20.0, -7.0, -8.0, -30.0]


def tokenizer_file() -> bytes:
    entries = (struct.pack("<fi", s, len(p.encode())) + p.encode() for p, s in zip(PIECES, SCORES, strict=True))
    return struct.pack("<i", 6) + b"".join(entries)


def encode(text: str) -> list[int]:
    """run.c's encoder: a space in front, characters or else bytes, then ever the best merge of neighbours."""
    known = {piece: number for number, piece in enumerate(PIECES) if number > 258}
    ids: list[int] = []
    for character in f" {text}":
        ids += [known[character]] if character in known else [byte + 3 for byte in character.encode()]
    while True:
        pairs = [(SCORES[known[pair]], -at, known[pair]) for at, pair in enumerate(joined(ids)) if pair in known]
        if not pairs:
            return [1, *ids]
        _, at, merged = max(pairs)
        ids[-at : -at + 2] = [merged]


def joined(ids: list[int]) -> list[str]:
    names = [PIECES[number] if number > 258 else "\0" for number in ids]
    return [first + second for first, second in pairwise(names)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_llama2c_logits_are_those_of_its_own_forward_pass(kv_heads: int, shared: bool) -> None:
    content, tensors = model_file(kv_heads, shared)
    assert llama2c.length(content + b"more") == len(content)
    tokens = [1, 17, 250, 3, 3, 99, 42]
    with torch.no_grad():
        logits = llama2c.read_model(content).eval()(input_ids=torch.tensor([tokens])).logits[0]
    np.testing.assert_allclose(logits.numpy(), forward(tensors, kv_heads, tokens), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("text", ["hello", "her  hello there", "er zé\n hero lo the", "h", "€"])
def test_llama2c_tokens_are_those_of_its_own_encoder(text: str) -> None:
    tokenizer = llama2c.read_tokenizer(tokenizer_file())
    assert tokenizer(text)["input_ids"] == encode(text)
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_llama2c_file_that_was_cut_is_refused() -> None:
    content, _ = model_file(4, shared=True)
    with pytest.raises(UserError, match=r"has [\d,]+ bytes, and here are"):
        llama2c.read_model(content[:-4])


def test_a_llama2c_pair_is_a_base_for_a_run(tmp_path: Path) -> None:
    convert.llama2c_pair({"data": model_file(2, shared=True)[0] + tokenizer_file()}, tmp_path)
    model, tokenizer, markers = start(ModelConfig(base=str(tmp_path)), [])
    assert model.get_input_embeddings().num_embeddings == max(markers.bot, markers.eot, markers.pause) + 1
    assert tokenizer("hello")["input_ids"] == encode("hello")


def gguf_file(path: Path, model: Any) -> None:
    """A Llama model as llama.cpp stores it: rows of queries and keys interleaved, tokens and merges in the header."""
    gguf = pytest.importorskip("gguf", reason="needs the extra latentcot[fetch]")
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = ["<pad>", "<eos>", *(chr(number) for number in range(33, 33 + config.vocab_size - 4)), "Ġ", "12"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(tokens) - 2)])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    names = {
        "embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "q_proj": "attn_q",
        "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
        "down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, tensor in model.state_dict().items():
        array, heads = tensor.numpy(), {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for part, number in heads.items():
            if part in name:
                halves = array.reshape(number, 2, -1, array.shape[-1])
                array = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))
        short = next(new for old, new in names.items() if f"{old}." in name)
        layer = f"blk.{name.split('.')[2]}." if ".layers." in name else ""
        writer.add_tensor(f"{layer}{short}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_a_plain_model_that_splits_digits(tmp_path: Path) -> None:
    model = tiny_model("llama")
    gguf_file(tmp_path / "tiny.gguf", model)
    convert.gguf({"folder/tiny.gguf": (tmp_path / "tiny.gguf").read_bytes()}, tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", use_safetensors=True)
    assert not hasattr(loaded.config, "quantization_config")
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("12") == ["1", "2"]


def test_gguf_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'latentcot\[fetch\]'"):
        convert.require_gguf()
