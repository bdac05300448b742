"""Files that appear whole or not at all, and where the folders are that come with the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from latentcot.core import UserError


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file, in one move from a neighbour. Missing folders are made; UserError where nothing can be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
    finally:
        with suppress(OSError):  # Where the folder could not be made, there is no draft.
            draft.unlink()


def refuse_existing(*paths: Path, flag: str = "--out") -> None:
    """UserError if one of the paths that `flag` names is there already: nothing is overwritten."""
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: exists: give {flag} another place, or remove it")


def with_package(folder: str) -> Path:
    """A folder that comes with the package (recipes, checkpoints), in an installation and in a clone."""
    installed = Path(str(files("latentcot"))) / folder
    return installed if installed.is_dir() else Path(__file__).parents[2] / folder
