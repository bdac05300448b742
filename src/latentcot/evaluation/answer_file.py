"""Answers to many questions as a JSON-lines file, which the same command continues after an interruption.

    {"made_by": "0f3b...", "question": "...", "text": "...", "answer": "...", "tokens": 8, "thoughts": 6}

`text` is what was written, `answer` what follows its last `###` (null without one), `tokens` counts written tokens and
thoughts. `made_by` is the same for the same checkpoint, questions and options, and no others: it tells a file to go on
with from any other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from transformers import set_seed

from latentcot.checkpoint import Checkpoint
from latentcot.core import Prediction, UserError
from latentcot.generate import answer
from latentcot.tokens import ANSWER_MARK, final_answer


def describe_maker(checkpoint: Path, questions: Sequence[str], options: Mapping[str, Any]) -> str:
    """Return 16 hex digits of a hash of the checkpoint's configuration and weights, the questions and the options."""
    folder = checkpoint / "best" if (checkpoint / "best" / "config.json").is_file() else checkpoint
    whole = hashlib.sha256()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with file.open("rb") as content:
            whole.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    whole.update(json.dumps([list(questions), dict(options)], sort_keys=True).encode())
    return whole.hexdigest()[:16]


@dataclass(frozen=True)
class AnswerFile:
    """The file of answers to `questions`, written `chunk` answers at a time."""

    path: Path
    questions: Sequence[str]
    made_by: str
    chunk: int

    def is_own(self, path: Path) -> bool:
        """Return whether a file is this one, complete or cut short anywhere; an empty one is."""
        return self._find_end(path) is not None

    def write(
        self,
        checkpoint: Checkpoint,
        options: Mapping[str, Any],
        seed: int,
        show: Callable[[int], None] = lambda answers: None,
    ) -> None:
        """Answer what is not answered yet, and append it chunk by chunk, each flushed to disk.

        An incomplete chunk at the end is dropped and answered again, so the file is what it would be without the
        interruption. `show` gets the number of answers that are there, at first and after each chunk. UserError, with
        nothing written, for a question that cannot be asked; or if another process writes the file.
        """
        self._require_askable(checkpoint, options.get("thoughts"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            _lock(file, self.path)
            done, end = self._find_end(self.path) or (0, 0)
            file.truncate(end)
            show(done)
            for first in range(done, len(self.questions), self.chunk):
                # A chunk's draws depend on the seed and its place alone.
                set_seed(int(hashlib.sha256(f"{seed} {first}".encode()).hexdigest()[:8], 16))
                asked = self.questions[first : first + self.chunk]
                predictions = answer(checkpoint, asked, batch_size=self.chunk, **options)
                file.write(b"".join(map(self._line, asked, predictions)))
                file.flush()
                os.fsync(file.fileno())
                show(first + len(asked))

    def _line(self, question: str, prediction: Prediction) -> bytes:
        record = {
            "text": prediction.text,
            "answer": final_answer(prediction.text) if ANSWER_MARK in prediction.text else None,
            "tokens": prediction.tokens,
            "thoughts": prediction.thoughts,
        }
        return self._head(question) + json.dumps(record, ensure_ascii=False)[1:].encode() + b"\n"

    def _head(self, question: str) -> bytes:
        """Return how the line of a question begins."""
        head = json.dumps({"made_by": self.made_by, "question": question}, ensure_ascii=False)
        return f"{head[:-1]}, ".encode()

    def _find_end(self, path: Path) -> tuple[int, int] | None:
        """Return how many answers of whole chunks a file begins with, and their bytes; None for a file that is another.

        What follows them may be cut short at any byte, or end in zeros as after a loss of power.
        """
        done = read = 0
        kept = (0, 0)
        with path.open("rb") as file:
            for line in file:
                if done == len(self.questions):  # Nothing but zeros may follow.
                    return None if line.strip(b"\0") else kept
                head = self._head(self.questions[done])
                if not line.endswith(b"\n"):
                    torn = line.rstrip(b"\0")
                    own = head.startswith(torn) or torn.startswith(head)
                    return kept if own and (done or torn) else None  # Nothing but zeros may be anybody's.
                if not line.startswith(head) or not _is_json(line):
                    return None
                done, read = done + 1, read + len(line)
                if done % self.chunk == 0 or done == len(self.questions):
                    kept = (done, read)
        return kept

    def _require_askable(self, checkpoint: Checkpoint, thoughts: int | None) -> None:
        for number, question in enumerate(self.questions, 1):
            try:
                checkpoint.layout(question, thoughts)
            except UserError as error:
                raise UserError(f"question {number}: {error}") from error


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes from writing the file while it is open; UserError if one does already."""
    with suppress(ImportError):  # Windows has none.
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{path}: another process writes it: wait, or give --out another place") from error
        except OSError:  # A file system without locks.
            return
