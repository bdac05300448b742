"""Table recipes: rows x data sets x seeds in one YAML, each data set with a recipe and what differs from it.

    seeds: [0, 1, 2]
    rows:                            # every row, and what it says over its data set's recipe
      cot: {method: CoT}
      coconut: {method: Coconut}
    datasets:
      chains:
        recipe: ../chains.yaml       # relative to this file; {row} in it stands for the row's name
        test: data/chains/test.json
        rows: {coconut: {curriculum: {mix: 0.3}}}
        start_from: {coconut: cot}   # model.base is the best checkpoint of the row cot, of the same data set and seed
        published: prosqa            # a data set of the paper's Table 1 to show beside

A table recipe may say `extends: OTHER.yaml` as any recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from latentcot.core import UserError
from latentcot.recipe import Layer, read_layers

Options = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """One data set of a table."""

    recipe: str
    """The recipe of its runs, or a pattern with {row}."""
    test: Path
    """The record file that every row is evaluated on; never one that chooses checkpoints."""
    options: Options = field(default_factory=dict)
    """Over the recipe, for every row."""
    rows: dict[str, Options] = field(default_factory=dict)
    """Over all else, for one row."""
    start_from: dict[str, str] = field(default_factory=dict)
    """Rows whose model is another row's best checkpoint by accuracy on validation."""
    published: str | None = None
    """The data set of the paper's Table 1 whose figures belong beside."""


@dataclass(frozen=True)
class Table:
    """Every row on every data set with every seed."""

    rows: dict[str, Options]
    datasets: dict[str, DataSet]
    seeds: list[int] = field(default_factory=lambda: [0])
    options: Options = field(default_factory=dict)
    """Over the recipes, for every cell."""


def read_table(recipe: str | Path) -> Table:
    """A table recipe; UserError, in one line that names the file, if it is faulty."""
    layers = read_layers(recipe)
    options = reduce(_overlay, (_anchored(layer) for layer in layers))
    if isinstance(rows := options.get("rows"), list):
        options["rows"] = {row: {} for row in rows}
    place = layers[-1].place
    _require_types(Table, options, place)
    datasets = {}
    for name, dataset in options["datasets"].items():
        _require_types(DataSet, dataset, f"{place}: datasets.{name}")
        datasets[name] = DataSet(**{**dataset, "test": Path(dataset["test"])})
    return Table(**{**options, "datasets": datasets})


def _require_types(kind: type, options: Any, place: str) -> None:
    """UserError unless the options are fields of a `Table` or `DataSet`, of the right types, and none is missing."""
    if not isinstance(options, dict):
        raise UserError(f"{place} is {options!r}: give options as `name: value`")
    wanted = {"recipe": str, "test": str, "published": str, "seeds": list}
    for key, value in options.items():
        if key not in (names := [f.name for f in fields(kind)]):
            raise UserError(f"{place}: there is no {key}: give some of {', '.join(names)}")
        if not isinstance(value, wanted.get(key, dict)):
            what = {str: "one text", list: "a list"}.get(wanted.get(key, dict), "options as `name: value`")
            raise UserError(f"{place}: {key} is {value!r}: give {what}")
    for seed in options.get("seeds", []):
        if not isinstance(seed, int):
            raise UserError(f"{place}: seeds holds {seed!r}: give whole numbers")
    for row, differences in options.get("rows", {}).items():
        if not isinstance(differences, dict):
            raise UserError(f"{place}: rows.{row} is {differences!r}: give options as `name: value`, or {{}}")
    for field_ in fields(kind):
        if field_.name not in options and field_.default is field_.default_factory is MISSING:
            raise UserError(f"{place}: {field_.name} is missing: give it")


PUBLISHED_TOKENS_NOTES = {
    "prontoqa": (
        "one more than is counted here for the same text. ### True is two tokens of GPT-2's tokenizer; with the end of "
        "the text there would be three. The paper's CoT row and its other data sets agree with the count without it."
    )
}
"""On data sets of `published` whose tokens the paper counts in another way in the rows that write the answer alone."""


def published() -> dict[str, dict[str, dict[str, float]]]:
    """The paper's Table 1 by data set and row: accuracy as a share, its `sd` where there is one, tokens."""
    text = files("latentcot.table").joinpath("published.yaml").read_text(encoding="utf-8")
    return {
        dataset: {
            row: {name: value if name == "tokens" else value / 100 for name, value in figures.items()}
            for row, figures in rows.items()
        }
        for dataset, rows in yaml.safe_load(text).items()
    }


def _anchored(layer: Layer) -> Options:
    """The layer's options with recipes relative to its own file as paths; names of the package's recipes stay."""
    options = dict(layer.options)
    if not isinstance(options.get("datasets", {}), dict):
        raise UserError(f"{layer.place}: datasets is {options['datasets']!r}: give a name and options for each")
    if "datasets" in options:
        options["datasets"] = {name: _anchored_data_set(layer, each) for name, each in options["datasets"].items()}
    return options


def _anchored_data_set(layer: Layer, dataset: Any) -> Any:
    recipe = dataset.get("recipe") if isinstance(dataset, dict) else None
    if not isinstance(recipe, str):
        return dataset
    beside = Path(layer.place).parent / recipe
    found = any(beside.parent.glob(beside.name.replace("{row}", "*")))
    return {**dataset, "recipe": str(beside)} if found else dataset


def _overlay(base: Options, top: Mapping[str, Any]) -> Options:
    """`top` merged deeply over `base`."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _overlay(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged
