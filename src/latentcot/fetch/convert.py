"""Files of packages as ordinary folders of transformers: safetensors, stock config and tokenizer."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, GPT2TokenizerFast

from latentcot.core import UserError
from latentcot.fetch import llama2c

transformers.utils.logging.disable_progress_bar()


def gguf(members: Mapping[str, bytes], out: Path) -> None:
    """One GGUF file, dequantised to float32, with a tokenizer that keeps digits apart (SmolLM2's own does)."""
    ((name, content),) = members.items()
    with tempfile.TemporaryDirectory(prefix="latentcot-fetch-") as folder:
        file = Path(folder) / Path(name).name
        file.write_bytes(content)
        # Without `dequantize` the model counts as quantised, and can be neither saved nor trained.
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    # A GGUF file does not carry the pre-tokenizer, and arithmetic suffers where digits are joined.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def require_gguf() -> None:
    """UserError, before anything is downloaded, if the package that reads GGUF files is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise UserError("reading a GGUF file needs the package gguf: pip install 'latentcot[fetch]'")


def llama2c_pair(members: Mapping[str, bytes], out: Path) -> None:
    """One file with a llama2.c model and, after it, its tokenizer."""
    (content,) = members.values()
    end = llama2c.length(content)
    llama2c.read_model(content[:end]).save_pretrained(out)
    llama2c.read_tokenizer(content[end:]).save_pretrained(out)


def gpt2_tokenizer(members: Mapping[str, bytes], out: Path) -> None:
    """GPT-2's encoder.json and vocab.bpe, in this order."""
    encoder, merges = (content.decode() for content in members.values())
    # The first line of the merges is their version. File names in place of contents give a tokenizer of one token.
    pairs = [tuple(line.split()) for line in merges.splitlines()[1:] if line]
    GPT2TokenizerFast(vocab=json.loads(encoder), merges=pairs).save_pretrained(out)


CONVERTERS: Mapping[str, Callable[[Mapping[str, bytes], Path], None]] = {
    "gguf": gguf,
    "llama2.c": llama2c_pair,
    "gpt2": gpt2_tokenizer,
}
"""By the format of a package's files: each takes them and writes a folder."""
