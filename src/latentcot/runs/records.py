"""What a run's folder says of the run: its files read in one place, each checked for all that is used of it.

Every function raises a UserError that names the file, says what is wrong with it, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from latentcot.core import UserError
from latentcot.files import read_object

Shape = type | UnionType | Mapping[str, Any] | list[Any]
"""A type, a union of types, an object's keys with their shapes (`key?` may be missing), or a list of one shape."""

NUMBER = int | float
SOURCE: Any = str | list | None

WORDS: Mapping[type | UnionType, str] = {
    dict: "an object", list: "a list", str: "a text", int: "a whole number", NUMBER: "a number",
    int | None: "a whole number or null", str | None: "a text or null", SOURCE: "a text, a list or null",
}  # fmt: skip

VALIDATED: Mapping[str, Shape] = {"accuracy": NUMBER, "tokens": NUMBER, "thoughts": NUMBER}

RESULT: Mapping[str, Shape] = {
    "row": str, "seed": int, "updates": int, "parameters": int, "seconds": NUMBER, "best": dict,
    "stages": [{"stage": int, "thoughts": int, "accuracy": NUMBER}],
}  # fmt: skip
"""Of result.json; `best` has the keys of `VALIDATED`, or none if no checkpoint of the last stage was validated."""

TEST: Mapping[str, Shape] = {
    "seed": int, "n": int, "right": int, **VALIDATED, "seconds_per_example": NUMBER, "start": str | None, "code": str,
    "machine": str, "sha256": {"train": str, "valid": str, "test": str},
}  # fmt: skip
"""Of a table's test.json."""

CONFIG: Mapping[str, Shape] = {
    "curriculum": {"thoughts_per_step": int},
    "data": {"valid": SOURCE, "columns?": dict, "valid_limit?": int | None, "skip_faults?": int},
    "sha256": {"valid?": str},
}
"""Of config.yaml."""

ENTRY: Mapping[str, Shape] = {
    "stage": int, "step": int, "epoch": NUMBER, "loss?": NUMBER, "eval_accuracy?": NUMBER,
}  # fmt: skip
"""Of each line of log.jsonl."""

ENVIRONMENT: Mapping[str, Shape] = {"pieces": [{"threads": int}]}
"""Of environment.json."""

EVALUATION: Mapping[str, Shape] = {**VALIDATED, "seconds_per_example": NUMBER}
"""Of eval-DATA.json."""

AGAIN = "restore it from a copy, or remove the run's folder and train it again"


def read_result(run: Path) -> dict[str, Any]:
    """Read result.json, which a finished run has."""
    file = run / "result.json"
    result = _read(file, RESULT, f"give the folder of a finished run; if it is one, {AGAIN}")
    if result["best"]:
        _require_shape(result["best"], VALIDATED, file, "best", AGAIN)
    return result


def read_config(run: Path) -> dict[str, Any]:
    """Read config.yaml: the resolved configuration and the hashes of the data."""
    return _read(run / "config.yaml", CONFIG, f"give the folder of a run; if it is one, {AGAIN}")


def read_threads(run: Path) -> list[int]:
    """Read from environment.json how many CPU threads trained each piece that the run came in.

    [] for a run that does not tell, as those of earlier versions.
    """
    file = run / "environment.json"
    if not file.is_file():
        return []
    pieces = _read(file, ENVIRONMENT, "remove this file, and the table says nothing of threads")["pieces"]
    return [piece["threads"] for piece in pieces]


def read_test(run: Path) -> dict[str, Any]:
    """Read test.json: a cell's figures on its table's test file."""
    return _read(run / "test.json", TEST, "remove this file, and the same command evaluates the run again")


def read_evaluation(file: Path) -> dict[str, Any]:
    """Read what `latentcot eval` wrote beside a checkpoint."""
    return _read(file, EVALUATION, "remove this file, or evaluate again")


def find_damage(run: Path) -> str | None:
    """Return what is wrong with a run's files, in one line that names the file and the mend; None if they are sound.

    A file that is missing is not damaged: the run may not have come so far.
    """
    readers: dict[str, Callable[[Path], object]] = {
        "config.yaml": read_config, "result.json": read_result, "test.json": read_test,
        "environment.json": read_threads,
    }  # fmt: skip
    try:
        for name, read in readers.items():
            if (run / name).is_file():
                read(run)
    except UserError as error:
        return str(error)
    return None


def read_log(run: Path) -> list[dict[str, Any]]:
    """Read the entries of log.jsonl."""
    file = run / "log.jsonl"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file}: cannot be read ({why}): {AGAIN}") from error
    return [_log_entry(file, number, line) for number, line in enumerate(lines, 1)]


def _log_entry(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: line {number} is damaged ({error}): {AGAIN}") from error
    _require_shape(entry, ENTRY, file, f"line {number}", AGAIN)
    found: dict[str, Any] = entry
    return found


def _read(file: Path, shape: Mapping[str, Shape], hint: str) -> dict[str, Any]:
    content = read_object(file, hint)
    _require_shape(content, shape, file, "", hint)
    return content


def _require_shape(value: Any, shape: Any, file: Path, name: str, hint: str) -> None:
    """UserError, with the file and the value's dotted `name` in it, unless the value has the shape."""
    if isinstance(shape, Mapping):
        _require_type(value, dict, file, name, hint)
        for key, of_key in shape.items():
            place = f"{name}.{key}".lstrip(".").removesuffix("?")
            if key.removesuffix("?") in value:
                _require_shape(value[key.removesuffix("?")], of_key, file, place, hint)
            elif not key.endswith("?"):
                raise UserError(f"{file}: {place} is missing: {hint}")
    elif isinstance(shape, list):
        _require_type(value, list, file, name, hint)
        for number, one in enumerate(value):
            _require_shape(one, shape[0], file, f"{name}.{number}", hint)
    else:
        _require_type(value, shape, file, name, hint)


def _require_type(value: Any, kind: type | UnionType, file: Path, name: str, hint: str) -> None:
    # In Python a bool is an int, in these files it is no number.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{file}: {name or 'the content'} is {str(value)[:60]!r} and not {WORDS[kind]}: {hint}")
