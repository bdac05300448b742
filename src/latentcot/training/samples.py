"""Tokenized examples as flat arrays, made once for a data set and a tokenizer and kept in a cache folder.

A list of token tuples for the 385,620 examples of GSM8k-Aug needs several gigabytes; the arrays need some hundred
megabytes, which are mapped from disk and so shared by the processes of a machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from latentcot.core import Example, Ids, Sample, Stage
from latentcot.tokens import encode_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 4096
"""Examples in one call of the tokenizer."""

WORTH_KEEPING = 20_000
"""Fewer examples than this are tokenized in a moment, so they are not kept."""


class Samples(Sequence[Sample]):
    """Samples over three arrays: `ids` holds all tokens, `ends` where each part ends, `parts` where each sample's do.

    The parts of a sample are its question, its steps and its answer, in that order.
    """

    def __init__(self, ids: NDArray[np.int32], ends: NDArray[np.int64], parts: NDArray[np.int64]) -> None:
        self.ids, self.ends, self.parts = ids, ends, parts

    def __len__(self) -> int:
        return len(self.parts) - 1

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        ends = self.ends[self.parts[index] : self.parts[index + 1] + 1].tolist()
        question, *steps, answer = (self._part(*bounds) for bounds in pairwise(ends))
        return Sample(question, tuple(steps), answer)

    def _part(self, begin: int, end: int) -> Ids:
        return tuple(self.ids[begin:end].tolist())

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each whole sample."""
        return np.diff(self.ends[self.parts])

    def questions(self) -> NDArray[np.int64]:
        """Tokens of the question of each sample."""
        return self.ends[self.parts[:-1] + 1] - self.ends[self.parts[:-1]]

    def targets(self, stage: Stage) -> NDArray[np.int64]:
        """Tokens of the steps that a stage leaves of each sample, and of its answer."""
        answers = self.parts[1:] - 1
        left = self.ends[answers] - self.ends[np.minimum(self.parts[:-1] + 1 + stage.steps_removed, answers)]
        answer: NDArray[np.int64] = self.ends[self.parts[1:]] - self.ends[answers]
        answer += np.maximum(left - stage.tokens_removed, 0)
        return answer

    def chains(self) -> NDArray[np.int64]:
        """Tokens of the steps of each sample."""
        return self.ends[self.parts[1:] - 1] - self.ends[self.parts[:-1] + 1]


def prepare(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Samples:
    """Tokenize the examples, or find them done in the cache folder; UserError as in `encode_examples`.

    Another tokenizer or other texts make another entry of the cache, so an entry is never out of date.
    """
    if len(examples) < WORTH_KEEPING:
        return Samples(*_arrays(examples, tokenizer))
    entry = cache_folder() / _key(examples, tokenizer)
    if not entry.is_dir():
        _write(entry, _arrays(examples, tokenizer))
    return Samples(*(np.load(entry / f"{name}.npy", mmap_mode="r") for name in ("ids", "ends", "parts")))


def cache_folder() -> Path:
    """Where prepared data is kept: latentcot/samples in the user's cache folder (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentcot" / "samples"


def _key(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> str:
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(f"{tokenizer.eos_token_id} {tokenizer.unk_token_id} {tokenizer('')['input_ids']}".encode())
    for example in examples:
        for text in (example.question, *example.steps, example.answer):
            digest.update(f"{len(text)} {text}".encode())
        digest.update(b"end")
    return digest.hexdigest()[:32]


def _arrays(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    chunks: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    parts = [0]
    for samples in _encoded(examples, tokenizer):
        flat: list[int] = []
        for sample in samples:
            for part in (sample.question, *sample.steps, sample.answer):
                flat += part
                lengths.append(len(part))
            parts.append(len(lengths))
        chunks.append(np.array(flat, dtype=np.int32))
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return np.concatenate(chunks), ends, np.array(parts, dtype=np.int64)


def _encoded(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[Sample]]:
    starts = range(0, len(examples), CHUNK)
    shown = track(starts, "tokenizing", disable=len(starts) < 8, transient=True)
    return (encode_examples(examples[start : start + CHUNK], tokenizer) for start in shown)


def _write(entry: Path, arrays: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]) -> None:
    """The entry appears whole or not at all, also when several processes prepare the same data."""
    draft = entry.with_name(f"{entry.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        for name, array in zip(("ids", "ends", "parts"), arrays, strict=True):
            np.save(draft / f"{name}.npy", np.asarray(array))
        draft.rename(entry)
    except OSError:
        if not entry.is_dir():  # Another process was first.
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
