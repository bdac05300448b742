"""Files that appear whole or not at all, and where the folders are that come with the package."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from latentcot.core import UserError


def draft_path(path: Path) -> Path:
    """Return the path of a new draft beside `path`, `.NAME.PID-RANDOM.tmp`: nobody can guess it and put a link there.

    The process id says whose draft it is, so that one left behind by a process that is gone can be removed.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that it appears whole or not at all, also after a loss of power.

    Missing folders are made. UserError where nothing can be written; what stood at `path` is then still there.
    """
    draft = draft_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): choose another path") from error
    finally:
        with suppress(OSError):  # Where the folder could not be made, there is no draft.
            draft.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename inside it outlives a loss of power; a no-op where the system
    cannot."""
    with suppress(OSError):  # Windows opens no folders, some network file systems sync none.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder, at any depth, and the folders' entries to disk; OSError where that fails."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def replace_folder(draft: Path, folder: Path) -> None:
    """Give a folder that is complete, and flushed to disk, its name, in the place of what has it now.

    The old one is moved away before it is removed, so that half a folder never stands under its name.
    """
    old = draft_path(folder)
    with suppress(FileNotFoundError):
        folder.rename(old)
    draft.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_object(path: Path, hint: str) -> dict[str, Any]:
    """Read a JSON (`.json`) or YAML (`.yaml`) file that holds one object.

    UserError, which names the file, says what is wrong with it and ends with the `hint` (what to do), if it is missing,
    unreadable, cut short, full of zeros, or holds anything but an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing: {hint}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): {hint}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # UnicodeDecodeError is a ValueError.
        raise UserError(f"{path}: is damaged ({' '.join(str(error).split())[:200]}): {hint}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__} and not an object: {hint}")
    return content


def refuse_existing(*paths: Path, flag: str = "--out") -> None:
    """UserError if one of the paths that `flag` names is there already: nothing is overwritten."""
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: exists: give {flag} another place, or remove it")


def refuse_overwriting(
    path: Path, flag: str, what: str, is_own: Callable[[Path], bool], others: Iterable[str | Path] = ()
) -> None:
    """UserError unless the output that `flag` names may be written: nothing is there, or `is_own` knows it as `what`.

    `what` is an earlier output of the same kind for the same thing. Folders and devices are never overwritten, nor are
    the files in `others`, whatever they hold: the command's inputs and its other outputs.
    """
    if path.resolve() in {Path(other).resolve() for other in others}:
        raise UserError(f"{path}: is an input or another output of this command: give {flag} another place")
    if os.path.lexists(path) and not (path.is_file() and is_own(path)):
        raise UserError(f"{path}: holds something else than {what}: give {flag} another place")


def with_package(folder: str) -> Path:
    """A folder that comes with the package (recipes, checkpoints), in an installation and in a clone."""
    installed = Path(str(files("latentcot"))) / folder
    return installed if installed.is_dir() else Path(__file__).parents[2] / folder
