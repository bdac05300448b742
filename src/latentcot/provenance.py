"""What a result was made with: commit, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from latentcot import __version__


def machine() -> str:
    """Architecture, cores and Python of this machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Versions of everything that a run's updates hang on."""
    libraries = {name: version(name) for name in ("torch", "transformers", "accelerate", "numpy")}
    return {"latentcot": code(), "python": platform.python_version(), **libraries}


def code() -> str:
    """The version of latentcot, and the commit if it runs from a clone (`pip install --editable .`): `0.1.0, commit
    abc...`, `(changed)` after it where sources differ from the commit."""
    folder = Path(__file__).parent
    # Untracked where the package is installed into a folder of another repository.
    tracked = _git(folder, "ls-files", "--error-unmatch", "core.py")
    commit = _git(folder, "rev-parse", "--short=12", "HEAD") if tracked else None
    if not commit:
        return f"{__version__}, commit unknown (not run from a clone)"
    changed = _git(folder, "status", "--porcelain", "--", ".")
    return f"{__version__}, commit {commit}{' (changed)' if changed else ''}"


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None where there is no git or it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
