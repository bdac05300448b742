"""Whether two configurations are the same run: they make the same updates from the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentcot.config import RunConfig, flat, to_mapping
from latentcot.curriculum import name_reset

WITHOUT_EFFECT = (
    "train.micro_batch",
    "train.eval_batch_size",
    "train.report_to",
    "train.save_steps",
    "train.keep_stages",
)
"""Options that change no update: speed, memory, and what is written beside."""

HASHED = (
    "data.train", "data.valid", "data.train_limit", "data.valid_limit", "data.columns", "data.filter",
    "data.skip_faults",
)  # fmt: skip
"""Options that say which examples are read, and how: the hashes of the examples stand for them."""


RESET = "curriculum.reset_optimizer"


def find_difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first option in which a run as recorded differs from the wanted one, with both values; None if none.

    An option that the record lacks, because it is older than the option, has its default there: so the default of a new
    option must do what was done before.
    """
    recorded = flat(held)
    old, new = {**flat(to_mapping(RunConfig())), **recorded}, flat(wanted)
    old[RESET] = name_reset(old[RESET])  # Runs of earlier versions say true or false.
    for key in sorted(new.keys() | recorded.keys(), key=str):
        if not _is_without_effect(str(key)) and not _is_same(key, old.get(key), new.get(key)):
            return key, old.get(key), new.get(key)
    return None


def _is_without_effect(key: str) -> bool:
    return key in WITHOUT_EFFECT or any(key == name or key.startswith(f"{name}.") for name in HASHED)


def _is_same(key: str, old: Any, new: Any) -> bool:
    if key == "model.base" and isinstance(old, str) and isinstance(new, str) and Path(new).is_dir():
        return Path(old).resolve() == Path(new).resolve()
    return bool(old == new)
