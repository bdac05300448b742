"""What an analysis reads and where it writes. Without torch, so that the command line can tell at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentcot.data.columns import AS_NAMED, Columns
from latentcot.ranges import Count, CountOrZero, require_ranges

Need = Literal["graph", "choices"]
"""What an analysis needs of every example: a graph, or candidates from a graph or from the record."""


@dataclass(frozen=True)
class Inputs:
    """What every analysis of a checkpoint reads, and where it writes."""

    checkpoint: Path
    """Folder of a checkpoint, or of a run (then its best checkpoint)."""
    data: str | list[str]
    """A source or a list of them: a file, a pattern, a set such as svamp, owner/name on the hub."""
    out: Path
    """Folder to write the figure (PNG and SVG) and its numbers (CSV and JSON) to; files that are there stay."""
    thoughts: CountOrZero | None = None
    """Most thoughts to give (default: the checkpoint's own number)."""
    limit: Count | None = None
    """Use only the first so many records."""
    batch_size: Count = 64
    """Questions, or candidates, computed at once."""
    columns: Columns = AS_NAMED
    """Where a source of your own has its question, steps and answer."""
    trust_remote_code: bool = False
    """Run the code that comes with the checkpoint's model."""

    def __post_init__(self) -> None:
        require_ranges(Inputs, vars(self), "--")
