"""One string names data, wherever data can be named: a *source*.

    FILE                            data/train.json, .jsonl, .csv, .tsv, .parquet, or .txt in GSM8k-Aug's format; or .gz
    FOLDER[:SPLIT]                  a folder of Parquet files, or one that `save_to_disk` of `datasets` wrote
    PATTERN                         'shards/*.parquet': all files that match, in the order of their names
    SET[:SPLIT]                     gsm8k-aug:validation; also gsm8k, svamp, gsm-hard, multiarith
    OWNER/NAME[/CONFIG][:SPLIT]     a data set on the hub; the split is `train` if left out

A file or folder that exists is meant, whatever its name. Several sources make one data set, in their order.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latentcot.core import UserError
from latentcot.data.files import TABLES, Row, file_suffix, rows
from latentcot.data.folders import folder_rows, is_data_folder
from latentcot.data.gsm8k import HUB
from latentcot.data.hub import hub_rows

Source = str | Path
Sources = Source | Sequence[Source]

_SET = re.compile(rf"({'|'.join(HUB)})(?::([\w.-]+))?")
_HUB_ID = re.compile(r"([\w-][\w.-]*/[\w.-]+)(?:/([\w.-]+))?(?::([\w.-]+))?")
_FILE_NAME = re.compile(r"\.(json|jsonl|csv|tsv|parquet|txt)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """One file, or one split of a data set on the hub."""

    name: str
    rows: Callable[[], Iterator[Row]]
    table: bool
    """Whether every row has the same columns."""


def origins(sources: Sources) -> list[Origin]:
    """What sources stand for, in order; UserError for one that stands for nothing."""
    return [origin for source in listed(sources) for origin in _origins(source)]


def listed(sources: Sources) -> list[str]:
    """One source or several as a list of strings."""
    return [str(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]


def spelled(sources: Sources) -> str:
    """Sources as one text, as an error names them."""
    return ", ".join(listed(sources))


def file_name(sources: Sources) -> str:
    """A short name for what is written about sources: a file's own without its suffix, as far as it can be one."""
    first, *more = listed(sources)
    named = Path(first.removesuffix(".gz")).stem
    stem = named if Path(first).is_file() else re.sub(r"[^\w.-]+", "-", first).strip("-.")
    return f"{stem}-and-{len(more)}-more" if more else stem


def _origins(source: str) -> list[Origin]:
    if Path(source).is_file():
        return [_file(source)]
    before, _, after = source.rpartition(":")
    for folder, split in ((source, None), (before, after)):
        if folder and is_data_folder(Path(folder)):
            return [Origin(source, partial(folder_rows, Path(folder), split), table=True)]
    if named := _SET.fullmatch(source):
        name, split = named.groups()
        known = HUB[name]
        if split and split not in known.splits:
            raise UserError(f"{source}: no split {split}: give one of {', '.join(known.splits)}")
        local = f"{known.local}, from https://huggingface.co/datasets/{known.repository},"
        return [_hub(source, known.repository, known.config, split or known.splits[0], local)]
    if glob.has_magic(source):
        matching = glob.glob(source, recursive=True)  # noqa: PTH207 - a Path takes no absolute pattern
        files = [path for path in sorted(matching) if Path(path).is_file()]
        if not files:
            raise UserError(f"{source}: no file matches: check the pattern")
        return [_file(path) for path in files]
    on_hub = _HUB_ID.fullmatch(source)
    if on_hub and not _FILE_NAME.search(source) and not Path(source).exists():
        repository, config, split = on_hub.groups()
        return [_hub(source, repository, config, split or "train", "a JSON, JSONL, CSV or Parquet file of it")]
    if "/" in source or "." in source or Path(source).exists():
        return [_file(source)]
    raise UserError(f"{source}: no such file: give a file, owner/name on the hub, or one of {', '.join(HUB)}")


def _file(path: str) -> Origin:
    return Origin(path, partial(rows, Path(path)), file_suffix(Path(path)) in TABLES)


def _hub(source: str, repository: str, config: str | None, split: str, local: str) -> Origin:
    return Origin(source, partial(hub_rows, source, repository, config, split, local), table=True)
