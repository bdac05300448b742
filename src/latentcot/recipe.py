"""Recipes: YAML files of a run's options (the fields of `RunConfig`).

    extends: base.yaml      # relative to this file; a base may extend another
    method: CoT

A recipe that extends another gives only what differs: its keys are merged deeply over its base's. Flags go over
recipes. Recipes that come with the package are found by their name (`prosqa/coconut.yaml`) from any folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from latentcot.config import RunConfig
from latentcot.core import UserError
from latentcot.files import with_package
from latentcot.methods import Method

EXTENDS = "extends"


@dataclass(frozen=True)
class Layer:
    """Some of a run's options, and the file or place that they come from, to name it in errors."""

    place: str
    options: Mapping[str, Any]


def prepare_parsing() -> None:
    """Have parsers made from now on explain a field by the text below it, and take rows by their class names."""
    set_parsing_settings(subclasses_enabled=[Method], docstring_parse_attribute_docstrings=True)


def recipe_parser() -> ArgumentParser:
    """A parser whose flags are the fields of `RunConfig` and whose `--config` reads recipes."""
    prepare_parsing()
    parser = ArgumentParser(prog="latentcot", allow_abbrev=False, exit_on_error=False)
    parser.add_argument(
        "--config",
        action=_Recipe,
        help="Recipe: a YAML file of the options below, or `extends: OTHER.yaml` and what differs; flags after it win.",
    )
    parser.add_class_arguments(RunConfig)
    return parser


def load_config(recipe: str | Path, **fields: Any) -> RunConfig:
    """A recipe as a configuration, with whole fields of `RunConfig` replaced; UserError if it is faulty."""
    return replace(merge(read_layers(recipe)), **fields)


def merge(layers: Sequence[Layer]) -> RunConfig:
    """Layers of options as a configuration, each over those before it; UserError names the layer at fault."""
    parser, merged, config = _merging_parser(), None, RunConfig()
    for layer in layers:
        _require_groups(layer.place, layer.options, config)
        try:
            merged = parser.parse_object(dict(layer.options), namespace=merged)
            fields = vars(parser.instantiate(merged))
            config = RunConfig(**{name: value for name, value in fields.items() if name != "config"})
        except (ArgumentError, UserError) as error:
            raise UserError(f"{layer.place}: {' '.join(str(error).split())}") from error
    return config


@cache
def _merging_parser() -> ArgumentParser:
    """One parser for all merges: making it takes longer than they do."""
    return recipe_parser()


def _require_groups(place: str, options: Mapping[str, Any], defaults: Any, prefix: str = "") -> None:
    """UserError where a group of options (`train`, `model.scratch`, ...) is given a single value, or none."""
    for name, value in options.items():
        group = getattr(defaults, str(name), None)
        if is_dataclass(group) and not isinstance(group, Method):
            if not isinstance(value, Mapping):
                raise UserError(f"{place}: {prefix}{name} is {value!r}: give its options as `name: value`")
            _require_groups(place, value, group, f"{prefix}{name}.")


def read_layers(recipe: str | Path) -> list[Layer]:
    """A recipe as layers, the base that all others extend first; UserError if a file is missing, faulty or a circle."""
    chain: dict[Path, Layer] = {}
    file: Path | None = find(recipe)
    while file is not None:
        options = read_yaml(file)
        base = options.pop(EXTENDS, None)
        if base is not None and not isinstance(base, str):
            raise UserError(f"{file}: {EXTENDS} is {base!r}: give the path of one recipe, relative to this one")
        chain[file.resolve()] = Layer(str(file), options)
        above, file = file, None if base is None else file.parent / base
        if file is not None and file.resolve() in chain:
            raise UserError(f"{above}: {EXTENDS} {base} closes a circle: let one recipe of it extend none")
        if file is not None and not file.is_file():
            raise UserError(f"{above}: {EXTENDS} {base}: there is no {file}: mend the path, relative to this recipe")
    return list(chain.values())[::-1]


def read_yaml(file: Path) -> dict[str, Any]:
    """The options of one YAML file, bases left alone; UserError unless it holds a mapping."""
    try:
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}): give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML ({' '.join(str(error).split())}): mend that place") from error
    if not isinstance(options, dict):
        raise UserError(f"{file}: holds no options: write them as `name: value`")
    return options


def find(recipe: str | Path) -> Path:
    """The file of a recipe: a path, or the name of one that comes with the package; UserError if there is neither."""
    path = Path(recipe)
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give a recipe in it")
    if path.is_file():
        return path
    own = shipped(*path.parts[path.parts[:1] == ("recipes",) :])
    if path.is_absolute() or not own.is_file():
        every = sorted(file.relative_to(shipped()).as_posix() for file in shipped().rglob("*.yaml"))
        names = [name for name in every if not name.startswith("accelerate/")]  # Those say how to launch.
        near = get_close_matches(str(recipe).removeprefix("recipes/"), names, n=3) or names
        raise UserError(
            f"{path}: no such recipe: give a YAML file, or one that comes with latentcot, such as {', '.join(near)}"
        )
    return own


def shipped(*parts: str) -> Path:
    """The path of a recipe that comes with the package, in an installation and in a clone; without parts, of all."""
    return with_package("recipes").joinpath(*parts)


class _Recipe(ActionConfigFile):  # type: ignore[misc]
    """`--config`: every layer of the recipe in turn, so that one recipe does not undo another's options."""

    def __call__(self, parser: ArgumentParser, cfg: Namespace, values: Any, option_string: str | None = None) -> None:
        layers = read_layers(values)
        merge(layers)
        for layer in layers:
            self.apply_config(parser, cfg, self.dest, yaml.safe_dump(dict(layer.options)))
