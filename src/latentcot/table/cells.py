"""The cells of a table: every row on every data set with every seed, in the order to run them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import yaml

from latentcot.config import RunConfig, to_mapping
from latentcot.core import UserError
from latentcot.data import records
from latentcot.data.leaks import Overlap, find_overlap, question_keys
from latentcot.data.sources import spelled
from latentcot.recipe import Layer, merge, read_layers
from latentcot.table.recipe import Table, published
from latentcot.training.data import read_data


@dataclass(frozen=True)
class Cell:
    """One run of a table with its evaluation, in the folder `run`."""

    dataset: str
    row: str
    seed: int
    config: RunConfig
    test: Path
    run: Path
    start: str | None = None
    """The row whose best checkpoint the run starts from."""

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.row}/seed-{self.seed}"


def plan(table: Table, run: Path, place: str) -> list[Cell]:
    """The cells in the order to run them: a whole table of the first seed first, starts before what starts from them.

    UserError, with `place` to name the table, where cells cannot be run or compared.
    """
    for name in ("rows", "datasets", "seeds"):
        if not getattr(table, name):
            raise UserError(f"{place}: {name} is empty: give one or more")
    if len(set(table.seeds)) < len(table.seeds):
        raise UserError(f"{place}: seeds holds one twice: name each once")
    for name in (*table.rows, *table.datasets):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"{place}: {name!r} names a folder: give letters, digits, _, - and . only")
    configs = {name: _configs(table, name, place) for name in table.datasets}
    return [
        _cell(table, name, row, seed, configs[name][row], run)
        for seed in table.seeds
        for name in table.datasets
        for row in _in_order(table, name, place)
    ]


def hashes(cell: Cell) -> dict[str, str]:
    """The sha256 of the examples that the cell trains on, validates with and is tested on."""
    return {**_hashes(cell.config), "test": digest(cell.test)}


@cache
def digest(path: Path) -> str:
    """The sha256 of a file's examples, read once."""
    return records.digest(records.read(path))


def _hashes(config: RunConfig) -> dict[str, str]:
    """The sha256 of the examples that a run reads."""
    return _read_once(_data_text(config))[0]


def _data_text(config: RunConfig) -> str:
    """What a configuration says of its data, the same for all runs on the same data."""
    return yaml.safe_dump(to_mapping(replace(RunConfig(), data=config.data)))


@cache
def _read_once(text: str) -> tuple[dict[str, str], dict[str, frozenset[bytes]]]:
    """Return the sha256 of the training and of the validation examples, and the keys of their questions."""
    data = read_data(merge([Layer("data", yaml.safe_load(text))]))
    return data.sha256(), {"train": question_keys(data.train), "valid": question_keys(data.valid)}


@cache
def _overlaps(text: str, test: Path) -> dict[str, Overlap]:
    """Return what a test file shares with the training and with the validation questions."""
    seen, examples = _read_once(text)[1], records.read(test)
    return {name: find_overlap(examples, keys) for name, keys in seen.items()}


def to_text(cell: Cell) -> str:
    """The cell as YAML, for `from_text` in another process."""
    return yaml.safe_dump(
        {
            **{field.name: getattr(cell, field.name) for field in fields(cell)},
            "config": to_mapping(cell.config), "test": str(cell.test), "run": str(cell.run),
        }
    )  # fmt: skip


def from_text(text: str) -> Cell:
    """The inverse of `to_text`."""
    values = yaml.safe_load(text)
    config = merge([Layer("cell", values["config"])])
    return Cell(**{**values, "config": config, "test": Path(values["test"]), "run": Path(values["run"])})


def chosen(cells: Sequence[Cell], only: str | None) -> list[Cell]:
    """The cells that `row=R,dataset=D,seed=S` names, and those that they start from; of a key given twice, either.

    UserError for a key or a value that no cell has.
    """
    wanted: dict[str, set[str]] = {}
    for part in only.split(",") if only else ():
        key, equals, value = part.partition("=")
        known = sorted({str(getattr(cell, key)) for cell in cells}) if key in ("row", "dataset", "seed") else []
        if not equals or not known:
            raise UserError(f"--only {only}: {part!r} is none of row=..., dataset=..., seed=...")
        if value not in known:
            raise UserError(f"--only {only}: the table has no {key} {value}: give one of {', '.join(known)}")
        wanted.setdefault(key, set()).add(value)
    named = [cell for cell in cells if all(str(getattr(cell, key)) in values for key, values in wanted.items())]
    if not named:
        raise UserError(f"--only {only}: no cell is all of that")
    runs = {run for cell in named for run in _with_starts(cell, cells)}
    return [cell for cell in cells if cell.run in runs]


def start_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell whose best checkpoint `cell` starts from."""
    return next(
        (c for c in cells if (c.dataset, c.row, c.seed) == (cell.dataset, cell.start, cell.seed)),
        None,
    )


def _with_starts(cell: Cell | None, cells: Sequence[Cell]) -> Iterator[Path]:
    while cell is not None:
        yield cell.run
        cell = start_of(cell, cells)


def _cell(table: Table, name: str, row: str, seed: int, config: RunConfig, run: Path) -> Cell:
    dataset = table.datasets[name]
    start, folder = dataset.start_from.get(row), run / name
    if start is not None:
        config = replace(config, model=replace(config.model, base=str(folder / start / f"seed-{seed}")))
    return Cell(name, row, seed, replace(config, seed=seed), dataset.test, folder / row / f"seed-{seed}", start)


def _configs(table: Table, name: str, place: str) -> dict[str, RunConfig]:
    """The configuration of every row on a data set, of seed 0."""
    dataset = table.datasets[name]
    where = f"{place}: datasets.{name}"
    for row in {**dataset.rows, **dataset.start_from, **dict.fromkeys(dataset.start_from.values())}:
        if row not in table.rows:
            raise UserError(f"{where}: there is no row {row}: give one of {', '.join(table.rows)}")
    if dataset.published not in (None, *published()):
        raise UserError(f"{where}.published is {dataset.published}: give one of {', '.join(published())}")
    configs = {}
    for row, options in table.rows.items():
        layers = [
            Layer(f"{place}: options", table.options),
            Layer(f"{where}.options", dataset.options),
            Layer(f"{place}: rows.{row}", options),
            Layer(f"{where}.rows.{row}", dataset.rows.get(row, {})),
        ]
        try:
            base = read_layers(dataset.recipe.replace("{row}", row))
        except UserError as error:
            raise UserError(f"{where}.recipe: {error}") from error
        configs[row] = merge([*base, *layers])
        _require_alike(configs, row, where)
    return configs


def require_unseen(cells: Sequence[Cell], place: str) -> None:
    """UserError, with `place` to name the table, if data is not there or test questions train or choose checkpoints."""
    for cell in cells:
        where, data = f"{place}: datasets.{cell.dataset}", cell.config.data
        try:
            overlaps = _overlaps(_data_text(cell.config), cell.test)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        for name, overlap in overlaps.items():
            if overlap.count:
                raise UserError(
                    f"{where}.test: {cell.test} has {overlap} that are in the data.{name} of row {cell.row} as well "
                    f"({spelled(getattr(data, name))}): give questions that no run sees (`latentcot data convert "
                    "--without` leaves the others out)"
                )


def _require_alike(configs: Mapping[str, RunConfig], row: str, where: str) -> None:
    """UserError unless the row has data, and the same as the rows before it."""
    first = next(iter(configs))
    for name in ("train", "valid"):
        if getattr(configs[row].data, name) is None:
            raise UserError(f"{where}: row {row}: data.{name} is missing: give a source of records")
    for group, field_name in (("data", "train"), ("data", "valid"), ("train", "max_new_tokens")):
        mine, others = (getattr(getattr(configs[name], group), field_name) for name in (row, first))
        if mine != others:
            raise UserError(
                f"{where}: {group}.{field_name} is {mine} in row {row} and {others} in row {first}: "
                "rows of a table share their data and the budget of an answer"
            )


def _in_order(table: Table, name: str, place: str) -> list[str]:
    """The rows, each after the one that it starts from."""
    starts, ordered = table.datasets[name].start_from, list[str]()
    while len(ordered) < len(table.rows):
        ready = [row for row in table.rows if row not in ordered and starts.get(row) in (None, *ordered)]
        if not ready:
            raise UserError(f"{place}: datasets.{name}.start_from is a cycle: let one of its rows start from none")
        # A start comes before the other rows, which may then run beside what waits for it.
        ordered.append(next((row for row in ready if row in starts.values()), ready[0]))
    return ordered
