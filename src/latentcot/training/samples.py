"""Tokenized examples as flat arrays, made once for a data set and a tokenizer and kept in a cache folder.

A list of token tuples for the 385,620 examples of GSM8k-Aug needs several gigabytes; the arrays need some hundred
megabytes, which are mapped from disk and so shared by the processes of a machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from latentcot.core import Example, Ids, Sample, Stage, UserError
from latentcot.files import draft_path, read_object, sync_folder, write_whole
from latentcot.tokens import encode_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 4096
"""Examples in one call of the tokenizer."""

WORTH_KEEPING = 20_000
"""Fewer examples than this are tokenized in a moment, so they are not kept."""

NAMES = ("ids", "ends", "parts")

MANIFEST = "manifest.json"
"""The sha256 of each array's file, in an entry of the cache."""

Arrays = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]


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

    Another tokenizer or other texts make another entry of the cache, so an entry is never out of date. A damaged one is
    made anew, and where the cache cannot be written the samples stay in memory; a line on stderr says so.
    """
    if len(examples) < WORTH_KEEPING:
        return Samples(*_arrays(examples, tokenizer))
    try:
        entry = cache_folder() / _key(examples, tokenizer)
        kept = _read(entry)
    except (OSError, RuntimeError) as error:  # No home folder, or one that may not be read.
        return _in_memory(_arrays(examples, tokenizer), error)
    if kept is not None:
        return Samples(*kept)
    arrays = _arrays(examples, tokenizer)
    try:
        _write(entry, arrays)
        return Samples(*(_read(entry) or arrays))
    except (OSError, UserError) as error:
        return _in_memory(arrays, error)


def cache_folder() -> Path:
    """Return where prepared data is kept: latentcot/samples in the user's cache folder (XDG_CACHE_HOME).

    RuntimeError where neither that nor a home folder is known.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentcot" / "samples"


def _in_memory(arrays: Arrays, error: Exception) -> Samples:
    reason = getattr(error, "strerror", None) or error
    print(f"prepared samples are not kept, and stay in memory ({reason}): set XDG_CACHE_HOME", file=sys.stderr)
    return Samples(*arrays)


def _key(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> str:
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(f"{tokenizer.eos_token_id} {tokenizer.unk_token_id} {tokenizer('')['input_ids']}".encode())
    for example in examples:
        for text in (example.question, *example.steps, example.answer):
            digest.update(f"{len(text)} {text}".encode())
        digest.update(b"end")
    return digest.hexdigest()[:32]


def _arrays(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Arrays:
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


def _read(entry: Path) -> Arrays | None:
    """Return the arrays of an entry, mapped from disk; None if there is no entry, or (with a line) it is damaged."""
    if not entry.is_dir():
        return None
    try:
        expected = read_object(entry / MANIFEST, "it is made again")
        if any(_digest(entry / f"{name}.npy") != expected.get(name) for name in NAMES):
            raise UserError(f"{entry}: its files are not what was written")
        ids, ends, parts = (np.load(entry / f"{name}.npy", mmap_mode="r") for name in NAMES)
    except (UserError, OSError, ValueError) as error:
        print(f"{entry}: prepared samples are damaged, and made again ({error})", file=sys.stderr)
        return None
    return ids, ends, parts


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write(entry: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write an entry, in the place of a damaged one; OSError or UserError if it cannot be written.

    It appears whole or not at all, also after a loss of power, and when several processes prepare the same data.
    """
    draft, old = draft_path(entry), draft_path(entry)
    try:
        draft.mkdir(parents=True)
        for name, array in zip(NAMES, arrays, strict=True):
            with (draft / f"{name}.npy").open("xb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        manifest = {name: _digest(draft / f"{name}.npy") for name in NAMES}
        write_whole(draft / MANIFEST, json.dumps(manifest).encode())
        with suppress(FileNotFoundError):
            entry.rename(old)
        try:
            draft.rename(entry)
        except OSError:
            if not entry.is_dir():  # Another process was first.
                raise
        sync_folder(entry.parent)
    finally:
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)
