"""Checkpoint folders that can be checked: a manifest with the size and SHA-256 of every file, written last."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from latentcot.core import UserError
from latentcot.files import read_object, sync_tree, write_whole

MANIFEST = "manifest.json"

FSDP_WEIGHTS = "pytorch_model_fsdp.bin"
"""What accelerate calls the weights in a checkpoint to resume from."""

STATE = "trainer_state.json"


def write_manifest(folder: Path) -> None:
    """Record every file of a folder that is complete, and flush all of it to disk."""
    files = {
        path.relative_to(folder).as_posix(): _describe(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    sync_tree(folder)
    write_whole(folder / MANIFEST, (json.dumps({"files": files}, indent=2) + "\n").encode())


def find_damage(folder: Path) -> str | None:
    """Return the first file that is not as the folder's manifest says, with what is wrong; None if all are.

    Also None for a folder without a manifest, as earlier versions wrote them. Files that came later do not count.
    """
    if not (folder / MANIFEST).exists():
        return None
    try:
        files = read_object(folder / MANIFEST, "")["files"]
        for name, recorded in files.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != recorded["size"]:
                return f"{name} has {size:,} bytes instead of {recorded['size']:,}"
            if _describe(path) != recorded:
                return f"{name} holds something else than what was written"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    except (UserError, KeyError, TypeError, AttributeError, ValueError):
        return f"{MANIFEST} is damaged"
    return None


def find_damage_to_resume(folder: Path, update: int) -> str | None:
    """Return what is wrong with a checkpoint to resume from, written after `update` updates; None if it is sound.

    Without a manifest (an earlier version wrote it) every file that resuming needs is looked into.
    """
    if (folder / MANIFEST).exists():
        return find_damage(folder)
    try:
        state = read_object(folder / STATE, "")
    except UserError:
        return f"{STATE} is missing or damaged"
    if state.get("global_step") != update or not isinstance(state.get("log_history"), list):
        return f"{STATE} is that of another checkpoint, or damaged"
    needed = [("model.safetensors", FSDP_WEIGHTS), ("optimizer.pt", "optimizer.bin"), ("scheduler.pt",)]
    needed.append(("rng_state.pth", "rng_state_0.pth"))
    for names in needed:
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            return f"{names[0]} is missing"
        if not _is_readable(path):
            return f"{path.name} is damaged"
    return None


def _is_readable(path: Path) -> bool:
    """Return whether weights are all there (safetensors), or a file of PyTorch's has the check sums that it holds."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np"):
                return True
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, SafetensorError, zipfile.BadZipFile, ValueError):
        return False


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
