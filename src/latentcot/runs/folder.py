"""A run's folder: the only place that knows its file names, its identity, whether it is finished, and its lock.

RUN/config.yaml        the resolved configuration and the data's hashes
RUN/environment.json   versions, device, precision, threads and processes of each piece that the run came in
RUN/log.jsonl          loss, and accuracy on validation, with stage and epoch
RUN/best/              the best checkpoint of the last stage
RUN/stage-K/           the checkpoint at the end of stage K, where asked for
RUN/result.json        the accuracy of every stage and of the best checkpoint
RUN/resume/            the last two checkpoints that an interrupted run continues from
RUN/.claim-N           while a process trains or evaluates the run (see `claims`)

Every file and checkpoint appears whole or not at all, and only while this launch holds the lock.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from latentcot.core import UserError
from latentcot.files import draft_path, read_object, replace_folder, write_whole
from latentcot.runs.claims import Claim, claim, describe_owner, is_claim_file, is_doubtful
from latentcot.runs.identity import find_difference
from latentcot.runs.manifest import find_damage_to_resume, write_manifest
from latentcot.runs.records import read_result

KEPT = 2
"""Checkpoints to resume from that are kept: should the newest be damaged, there is another."""

_NAME = r"(?:config\.yaml|environment\.json|log\.jsonl|result\.json|best|stage-\d+|checkpoint-\d+)"
_DRAFT = re.compile(rf"\.{_NAME}\.(?:\d+(?:-[0-9a-f]+)?|[0-9a-f]+)\.tmp|{_NAME}\.partial")


class RunFolder:
    """The folder of one run. What writes needs `claim`, the lock of this launch (see `lock`)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config, self.environment = self.path / "config.yaml", self.path / "environment.json"
        self.log, self.result = self.path / "log.jsonl", self.path / "result.json"
        self.best, self.resume = self.path / "best", self.path / "resume"
        self.claim: Claim | None = None

    def read_config(self) -> dict[str, Any] | None:
        """Return the recorded configuration; None in a new folder. UserError if it is damaged, or no run's folder."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file: give --run a new folder")
        if self._is_new():
            return None
        if not self.config.is_file():
            raise UserError(f"{self.path}: holds files that are no run's: give --run a new folder")
        return read_object(self.config, "restore it from a copy, or give --run a new folder")

    def require_same(self, wanted: Mapping[str, Any], more_epochs: bool = False) -> None:
        """UserError, with the first difference, if the folder holds another run than the mapping `wanted`.

        With `more_epochs` it may be the same run with fewer epochs, where those have no part in the learning rate.
        """
        held = self.read_config()
        if held is None or (more_epochs and self.fewer_epochs(held, wanted)):
            return
        difference = find_difference(held, wanted)
        if difference is not None:
            key, old, new = difference
            whose = "its data's " if str(key).startswith("sha256") else ""
            raise UserError(
                f"{self.path}: holds another run ({whose}{key} is {old!r} there and {new!r} here): "
                "give --run a new folder, or remove this one"
            )

    @staticmethod
    def fewer_epochs(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> int | None:
        """Return the recorded number of epochs, if that is all in which a run differs, and it has fewer; else None."""
        curriculum = held.get("curriculum")
        old = curriculum.get("epochs") if isinstance(curriculum, dict) else None
        epochs = wanted["curriculum"]["epochs"]
        if not isinstance(old, int) or old >= epochs or wanted["train"]["schedule"] != "constant":
            return None
        raised = {**held, "curriculum": {**held["curriculum"], "epochs": epochs}}
        return old if find_difference(raised, wanted) is None else None

    def finished(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result if this very run is finished; UserError if the folder is damaged or holds anything else."""
        self.require_same(wanted, more_epochs=True)
        held = self.read_config()
        if held is None or not self.result.is_file() or self.fewer_epochs(held, wanted):
            return None
        return read_result(self.path)

    @contextmanager
    def lock(self) -> Iterator[Claim]:
        """Hold the run's lock; UserError, which names the other process, if another process works on the run."""
        told = False
        while True:
            with claim(self.path) as mine:
                if mine is not None:
                    yield mine
                    return
            owner = describe_owner(self.path)
            if not is_doubtful(self.path):
                raise UserError(f"{self.path}: {owner} works on this run: wait for it, end it, or give --run another")
            if not told:
                print(f"{self.path}: watching for a moment whether {owner} still works on this run", flush=True)
            told = True
            time.sleep(1)

    def sweep(self) -> None:
        """Remove what killed processes left half-written. For the holder of the lock: nobody else writes here."""
        for folder in (self.path, self.resume):
            for path in folder.iterdir() if folder.is_dir() else ():
                if _DRAFT.fullmatch(path.name):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)

    def last_checkpoint(self) -> Path | None:
        """Return the newest sound checkpoint to resume from; None if there is none yet. Names damaged ones in a line.

        UserError if there are some, and all are damaged.
        """
        found = self._checkpoints()
        for update, folder in reversed(found):
            damage = find_damage_to_resume(folder, update)
            if damage is None:
                return folder
            print(f"{folder}: damaged ({damage}): an older checkpoint is used, if there is one", flush=True)
        if found:
            raise UserError(
                f"{self.resume}: every checkpoint in it is damaged: restore it from a copy, or remove it to begin again"
            )
        return None

    def write_config(self, content: Mapping[str, Any]) -> None:
        """Record the configuration, and that the run is not finished."""
        self._verify()
        write_whole(self.config, yaml.safe_dump(dict(content), sort_keys=False).encode())
        self.result.unlink(missing_ok=True)  # Of fewer epochs.

    def write_log(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write the log anew."""
        self._verify()
        write_lines(self.log, entries)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result, with which the run is finished."""
        self._verify()
        _write_json(self.result, result)

    def record_environment(self, used: Mapping[str, Any], update: int) -> dict[str, Any] | None:
        """Note what the piece of the run that begins after `update` uses; return what the piece before used, if any."""
        pieces: list[dict[str, Any]] = []
        if self.environment.exists():
            pieces = read_object(self.environment, hint := "remove it, and the same command goes on").get("pieces", [])
            if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
                raise UserError(f"{self.environment}: is damaged: {hint}")
        before = {name: value for name, value in pieces[-1].items() if name != "from_update"} if pieces else None
        if before != used:
            self._verify()
            _write_json(self.environment, {"pieces": [*pieces, {"from_update": update, **used}]})
        return before

    @contextmanager
    def new_checkpoint(self, name: str) -> Iterator[Path]:
        """Inside, a draft to write a named checkpoint to; afterwards it takes its name, in the place of one before it.

        UserError, with nothing changed, if it cannot be written.
        """
        self._verify()
        draft = draft_path(self.path / name)
        try:
            with _clear_errors(self.path / name):
                draft.mkdir(parents=True)
                yield draft
                self._verify()
                replace_folder(draft, self.path / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def resume_draft(self, update: int) -> Iterator[Path]:
        """Inside, the folder in which the processes of this launch write `checkpoint-UPDATE`; see `keep_to_resume`.

        UserError, with older checkpoints untouched, if it cannot be written.
        """
        self._verify()
        assert self.claim is not None
        draft = self.resume / f".checkpoint-{update}.{self.claim.token}.tmp"
        with _clear_errors(self.resume):
            try:
                yield draft
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise

    def keep_to_resume(self, draft: Path, update: int) -> None:
        """Let a checkpoint that all processes have written take its name, and remove all but it and the one before."""
        name = f"checkpoint-{update}"
        write_manifest(draft / name)
        self._verify()
        replace_folder(draft / name, self.resume / name)
        shutil.rmtree(draft, ignore_errors=True)
        # By number, whatever the clock says. Those with higher numbers were found damaged when this piece began.
        found = self._checkpoints()
        kept = [folder for number, folder in found if number <= update][-KEPT:]
        for _, folder in found:
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _verify(self) -> None:
        """UserError if the lock is lost: processes left over from an earlier launch write nothing more."""
        assert self.claim is not None, "the run's lock is not held"
        self.claim.verify()

    def _is_new(self) -> bool:
        """Return whether the folder is missing, or holds only what a process killed at its very start leaves."""
        if not self.path.is_dir():
            return True
        return all(
            is_claim_file(path) or _DRAFT.fullmatch(path.name) or (path == self.resume and not self._checkpoints())
            for path in self.path.iterdir()
        )

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Return the checkpoints to resume from, with their numbers of updates, in order."""
        folders = self.resume.iterdir() if self.resume.is_dir() else ()
        return sorted(
            (int(match[1]), folder) for folder in folders if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name))
        )


def write_lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Replace a JSON-lines file in one move, so that a reader or a crash never meets half of it."""
    write_whole(path, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn what libraries raise where a disk is full, or cannot be written, into a UserError that says so."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        from_writer = re.search("PytorchStreamWriter|inline_container|unexpected pos", str(error))
        if isinstance(error, RuntimeError) and not from_writer:
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be written ({reason}): free space there; the same command goes on from the last checkpoint"
        ) from error
