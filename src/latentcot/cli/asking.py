"""What `latentcot generate` reads its questions from, and the file that it writes answers to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from latentcot.core import UserError
from latentcot.data import questions
from latentcot.data.columns import Columns
from latentcot.data.sources import origins
from latentcot.files import refuse_overwriting


def read_questions(words: list[str], data: str | list[str] | None, format: str, columns: Columns) -> list[str]:
    """Return the questions of the command line, of standard input and of `--data`, of which there must be some."""
    if bool(words) == (data is not None):
        raise UserError("no questions: give some, or - and standard input, or --data" if not words else
                        "questions and --data: leave one of them out")  # fmt: skip
    if data is not None:
        return questions.read_questions(data, columns)
    return [text for word in words for text in (_read_standard_input(format) if word == "-" else [word])]


def _read_standard_input(format: str) -> list[str]:
    if format == "text":
        return [sys.stdin.read().strip("\r\n")]
    if format == "lines":
        return [line.rstrip("\r\n") for line in sys.stdin]
    return [_question_of_line(number, line) for number, line in enumerate(sys.stdin, 1) if line.strip()]


def _question_of_line(number: int, line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"standard input: line {number}: not JSON ({error}): mend that line") from error
    question = record.get("question") if isinstance(record, dict) else None
    if not isinstance(question, str):
        raise UserError(f'standard input: line {number}: no text "question": give {{"question": "..."}}')
    return question


def answer_to_file(
    checkpoint: Path,
    asked: list[str],
    data: str | list[str] | None,
    out: Path,
    options: dict[str, Any],
    seed: int,
    batch_size: int,
    trust_remote_code: bool = False,
) -> None:
    """Write the answers of all questions that the file `out` lacks; UserError if it is another file."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("generate --out writes its file in one process: start it without a launcher")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from latentcot.checkpoint import load
    from latentcot.evaluation.answer_file import AnswerFile, describe_maker

    drawn = {"seed": seed} if options.get("do_sample") else {}
    file = AnswerFile(out, asked, describe_maker(checkpoint, asked, {**options, **drawn}), batch_size)
    inputs = [] if data is None else [origin.name for origin in origins(data)]
    refuse_overwriting(
        out, "--out", "answers of this checkpoint to these questions, asked like this", file.is_own, inputs
    )
    loaded, console = load(checkpoint, trust_remote_code=trust_remote_code), Console(stderr=True)
    columns = TextColumn("answers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(asked))
        file.write(loaded, options, seed, lambda answers: progress.update(bar, completed=answers))
    print(out)
