"""A table's entries as Markdown, CSV, JSON, LaTeX and a figure, all from the same figures.

DIR/table.md, table.csv, table.json, table.tex, table.png, table.svg
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from latentcot.files import write_whole
from latentcot.table.results import Entry

COLUMNS = (
    "dataset", "row", "seeds", "accuracy", "sd", "low", "high", "pooled_low", "pooled_high", "tokens", "thoughts",
    "seconds_per_example", "published_accuracy", "published_sd", "published_tokens", "reached_last_stage", "runs",
    "code", "train", "valid", "test",
)  # fmt: skip
"""Of the CSV. Accuracies are shares; `low` to `high` is the 95% interval; the last three are the data's sha256."""

EARLY = "† has a run whose epochs ended before its last stage: its figures are those of the stage it reached."

DAGGER = r"$^\ddagger$"
"""The mark of `published_tokens_note` in LaTeX."""

SOURCE = "Hao et al. 2024 (arXiv 2412.06769), Table 1: GPT-2"


def write_all(entries: Sequence[Entry], folder: Path) -> None:
    """Write every form of the table into the folder, each file whole or not at all."""
    from latentcot.table.figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, Callable[[Sequence[Entry]], str]] = {
        "table.md": markdown, "table.csv": as_csv, "table.json": as_json, "table.tex": latex,
    }  # fmt: skip
    for name, text in texts.items():
        write_whole(folder / name, text(entries).encode())
    for name, image in draw(entries).items():
        write_whole(folder / name, image)


def accuracy(entry: Entry) -> str:
    """`97.0 ± 0.3` in %, or without the deviation for one seed."""
    return _percent(entry.accuracy) + ("" if entry.sd is None else f" ± {_percent(entry.sd)}")


def marked(entry: Entry) -> str:
    """The row's name, with a mark that `EARLY` explains where it belongs."""
    return entry.row + ("" if entry.reached_last_stage else " †")


def published(entry: Entry) -> str:
    """The paper's accuracy in %, or nothing."""
    if entry.published is None:
        return ""
    sd = entry.published.get("sd")
    return _percent(entry.published["accuracy"]) + ("" if sd is None else f" ± {_percent(sd)}")


def published_tokens(entry: Entry, mark: str) -> str:
    """The paper's tokens, or nothing, with the mark where `published_tokens_note` says how they differ from ours."""
    if entry.published is None:
        return ""
    return f"{entry.published['tokens']:.1f}" + (f" {mark}" if entry.published_tokens_note else "")


def _tokens_notes(entries: Sequence[Entry]) -> list[str]:
    return _unique(entry.published_tokens_note for entry in entries if entry.published_tokens_note)


def markdown(entries: Sequence[Entry]) -> str:
    """A table for each data set, the accuracy of every run at every stage, and where each figure comes from."""
    lines = []
    for dataset, group in groupby(entries, key=lambda entry: entry.dataset):
        found = list(group)
        lines += [f"## {dataset}", "", *_main_table(found), "", *_stages(found), "", *_origins(found), ""]
    if any(not entry.reached_last_stage for entry in entries):
        lines += [EARLY, ""]
    if any(entry.published for entry in entries):
        lines += [f"Published: {SOURCE}.", ""]
    for note in _tokens_notes(entries):
        lines += [f"‡ Published tokens: {note}", ""]
    return "\n".join([*lines, *_NOTES, ""])


def _main_table(entries: Sequence[Entry]) -> list[str]:
    head = ["row", "seeds", "accuracy %", "95% interval", "95% of answers", "tokens", "s/question"]
    rows = [
        [
            marked(entry),
            str(len(entry.runs)),
            accuracy(entry),
            *(f"{_percent(low)} to {_percent(high)}" for low, high in (entry.interval, entry.pooled)),
            f"{entry.tokens:.1f}",
            f"{entry.seconds_per_example:.4f}",
        ]
        for entry in entries
    ]
    if any(entry.published for entry in entries):
        head += ["published %", "published tokens"]
        for row, entry in zip(rows, entries, strict=True):
            row += [published(entry), published_tokens(entry, "‡")]
    return _md(head, rows)


def _stages(entries: Sequence[Entry]) -> list[str]:
    numbers = sorted({stage["stage"] for entry in entries for run in entry.runs for stage in run.stages})
    rows = []
    for entry in entries:
        for run in entry.runs:
            at = {stage["stage"]: _percent(stage["accuracy"]) for stage in run.stages}
            rows.append([entry.row, str(run.seed), *(at.get(number, "") for number in numbers)])
    head = ["row", "seed", *(f"stage {number}" for number in numbers)]
    return ["Accuracy on validation at the end of every stage, in %:", "", *_md(head, rows)]


def _origins(entries: Sequence[Entry]) -> list[str]:
    head = ["run", "seed", "right", "of", "updates", "training s", "train", "valid", "test", "latentcot", "machine"]
    head += ["threads"]
    rows = [
        [run.run, str(run.seed), str(run.right), str(run.n), f"{run.updates:,}", f"{run.training_seconds:.0f}"]
        + [run.sha256[name][:12] for name in ("train", "valid", "test")]
        + [run.code, run.machine, " ".join(map(str, run.threads))]
        for entry in entries
        for run in entry.runs
    ]
    return ["Where it comes from (data by the beginning of its sha256):", "", *_md(head, rows)]


_NOTES = (
    "Accuracy is the share of test questions whose text after the last `###` is the gold answer. Every row is asked in",
    "the same way, and checkpoints are chosen on validation alone. ± is the standard deviation over seeds. The 95%",
    "interval is Student's t over seeds, or Wilson's for one seed; that of answers is Wilson's over the answers of all",
    "seeds together. Tokens are written tokens and thoughts. Seconds are wall time in batches, beside other work.",
    "Sums are split among CPU threads, so a run with another number of threads (`--jobs 2` gives each run one,",
    "`--jobs 1` all of them) ends with other last bits, and now and then with another answer.",
)


def _md(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def as_csv(entries: Sequence[Entry]) -> str:
    """One line for each row on each data set; see `COLUMNS`."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow(_csv_values(entry))
    return out.getvalue()


def _csv_values(entry: Entry) -> dict[str, Any]:
    figures = entry.published or {}
    return {
        "dataset": entry.dataset,
        "row": entry.row,
        "seeds": " ".join(str(run.seed) for run in entry.runs),
        "accuracy": entry.accuracy,
        "sd": "" if entry.sd is None else entry.sd,
        "low": entry.interval[0],
        "high": entry.interval[1],
        "pooled_low": entry.pooled[0],
        "pooled_high": entry.pooled[1],
        "tokens": entry.tokens,
        "thoughts": entry.thoughts,
        "seconds_per_example": entry.seconds_per_example,
        **{f"published_{name}": figures.get(name, "") for name in ("accuracy", "sd", "tokens")},
        "reached_last_stage": entry.reached_last_stage,
        "runs": " ".join(run.run for run in entry.runs),
        "code": "; ".join(_unique(run.code for run in entry.runs)),
        **{name: " ".join(_unique(run.sha256[name] for run in entry.runs)) for name in ("train", "valid", "test")},
    }


def as_json(entries: Sequence[Entry]) -> str:
    """Everything that is known of every entry and its runs; accuracies are shares."""
    return json.dumps({"source": SOURCE, "entries": [asdict(entry) for entry in entries]}, indent=2) + "\n"


def latex(entries: Sequence[Entry]) -> str:
    """A booktabs table in the shape of the paper's: rows, and for each data set accuracy in % and tokens."""
    datasets, rows = _unique(e.dataset for e in entries), _unique(e.row for e in entries)
    cells = {(entry.dataset, entry.row): entry for entry in entries}
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{{_tex(name)}}}" for name in datasets)
    lines = [
        r"\begin{tabular}{l" + "rr" * len(datasets) + "}",
        r"\toprule",
        rf" & {heads} \\",
        "row" + r" & acc.\ (\%) & tokens" * len(datasets) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        found = [cells.get((dataset, row)) for dataset in datasets]
        figures = [f"{_pm(accuracy(e))} & {e.tokens:.1f}" if e is not None else " & " for e in found]
        early = r"$^\dagger$" if any(e is not None and not e.reached_last_stage for e in found) else ""
        lines.append(rf"{_tex(row)}{early} & {' & '.join(figures)} \\")
        if any(e is not None and e.published for e in found):
            paper = [
                f"{_pm(published(e))} & {published_tokens(e, DAGGER)}" if e is not None and e.published else " & "
                for e in found
            ]
            lines.append(rf"\quad published & {' & '.join(paper)} \\")
    lines += [r"\bottomrule", r"\end{tabular}", "% runs, commits and hashes of the data: table.json"]
    if not all(entry.reached_last_stage for entry in entries):
        lines.append(f"% {EARLY.replace('†', 'dagger:')}")
    if any(entry.published for entry in entries):
        lines.append(f"% published: {SOURCE}")
    lines += [f"% double dagger: published tokens: {note}" for note in _tokens_notes(entries)]
    return "\n".join([*lines, ""])


def _pm(text: str) -> str:
    return text.replace("±", r"$\pm$")


def _tex(name: str) -> str:
    """A name as LaTeX text."""
    return "".join("\\" + character if character in "&%$#_{}" else character for character in name)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
