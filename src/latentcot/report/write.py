"""A finding as files: the figure as PNG and SVG, its rows as CSV, everything but the picture as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentcot.files import write_whole
from latentcot.report.findings import Finding
from latentcot.report.plots.style import png, svg

KINDS = ("png", "svg", "csv", "json")


def finding_files(folder: Path, name: str) -> list[Path]:
    """The files of the finding `name` in a folder."""
    return [folder / f"{name}.{kind}" for kind in KINDS]


def write_finding(folder: Path, finding: Finding, context: Mapping[str, Any]) -> None:
    """Write the four files. `context` says what was looked at: it goes before the rest of the JSON."""
    described = {"analysis": finding.name, **context, "note": finding.note, **finding.summary, "rows": finding.rows}
    contents = (
        png(finding.figure),
        svg(finding.figure).encode(),
        table(finding.rows).encode(),
        (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode(),
    )
    for path, content in zip(finding_files(folder, finding.name), contents, strict=True):
        write_whole(path, content)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a list takes a numbered column for each of its items, None is empty."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, fieldnames=list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list | tuple):
            flat |= {f"{key}_{number}": item for number, item in enumerate(value, 1)}
        else:
            flat[key] = value
    return flat
