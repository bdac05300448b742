"""Rows of a local folder that the `datasets` library reads: Parquet files, or what its `save_to_disk` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentcot.core import UserError
from latentcot.data.files import BATCH, Row, arrow_rows

_SAVED, _SAVED_SPLITS = "dataset_info.json", "dataset_dict.json"
"""What `save_to_disk` writes, of one data set and of one with splits."""


def is_data_folder(folder: Path) -> bool:
    """Return whether a folder holds Parquet files, at any depth, or was written by `save_to_disk`."""
    return _is_saved(folder) or (folder.is_dir() and any(folder.rglob("*.parquet")))


def folder_rows(folder: Path, split: str | None) -> Iterator[Row]:
    """Yield the rows of one split, read a piece at a time; UserError, which names the folder, where there is none.

    The split may be left out where there is one alone. The names of Parquet files tell theirs, as on the hub
    (`train-00000-of-00002.parquet`, `data/test.parquet`); a file whose name tells none is training data.
    """
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    place = ""
    try:
        for place, row in arrow_rows(_split(folder, split).with_format("arrow").iter(BATCH)):
            yield place, row
    except UserError:
        raise
    except (DatasetsError, ArrowException, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        fault = f"damaged after {place}" if place else "no data set that can be read"
        raise UserError(f"{folder}: {fault} ({reason:.200}): fetch or save it again") from error
    if not place:
        raise UserError(f"{folder}: holds no records: name another split, or fetch the folder again")


def _split(folder: Path, split: str | None) -> Any:
    """Return the data set of a split."""
    import datasets

    if _is_saved(folder):
        found = datasets.load_from_disk(str(folder))
    else:
        found = datasets.load_dataset("parquet", data_dir=str(folder), streaming=True)  # Without a copy in a cache.
    if isinstance(found, datasets.Dataset):
        if split is not None:
            raise UserError(f"{folder}:{split}: the folder has no splits: leave {split} out")
        return found
    if (split is None and len(found) > 1) or split not in (None, *found):
        raise UserError(f"{folder}: has the splits {', '.join(found)}: name one, as in {folder}:{next(iter(found))}")
    return found[split or next(iter(found))]


def _is_saved(folder: Path) -> bool:
    return (folder / _SAVED).is_file() or (folder / _SAVED_SPLITS).is_file()
