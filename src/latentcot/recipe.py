"""Recipes: YAML files of a run's options (the fields of `RunConfig`).

    extends: base.yaml      # relative to this file; a base may extend another
    method: CoT

A recipe that extends another gives only what differs: its keys are merged deeply over its base's. Flags go over
recipes. Recipes that come with the package are found by their name (`prosqa/coconut.yaml`) from any folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from latentcot.config import RunConfig, flat
from latentcot.core import UserError
from latentcot.files import with_package
from latentcot.methods import ROWS, Method
from latentcot.methods.lookup import loaded_methods, trace_method
from latentcot.ranges import FINITE

EXTENDS = "extends"


@dataclass(frozen=True)
class Layer:
    """Some of a run's options, and the file or place that they come from, to name it in errors."""

    place: str
    options: Mapping[str, Any]


def prepare_parsing() -> None:
    """Have parsers made from now on explain a field by the text below it, and take rows by their class names.

    Values are data: whatever a value names, nothing but rows (see `admit_method`) is imported for it or made from it.
    jsonargparse holds these settings for the whole process.
    """
    set_parsing_settings(
        subclasses_enabled=[Method],
        docstring_parse_attribute_docstrings=True,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[f"{kind.__module__}.{kind.__qualname__}" for kind in _groups(RunConfig())],
    )
    admit_method(None)


def admit_method(value: Any) -> None:
    """Let rows in memory be named, and the one that `value` names be imported; UserError if it names anything else.

    `value` is what a recipe or a flag gives for `method`: a class name, a dotted name, or a map with `class_path`.
    What else stands in a row's module, such as a dataclass of its options, may be named too.
    """
    path = value.get("class_path") if isinstance(value, Mapping) else value
    names = loaded_methods()
    if isinstance(path, str) and "." in path:
        trace = trace_method(path)
        if not trace:
            raise UserError(
                f"method is {path}: no such row: give one of {', '.join(ROWS)}, or the dotted name of a class of your "
                "own that is based on one of them"
            )
        names += trace
    allowed = [name for name in names if all(part.isidentifier() for part in name.split("."))]
    set_parsing_settings(import_path_allowlist=allowed)


def _groups(group: Any) -> list[type]:
    """The dataclasses that the options are grouped in, this one first."""
    fields = [getattr(group, field.name) for field in dataclass_fields(group)]
    below = [each for each in fields if is_dataclass(each) and not isinstance(each, Method)]
    return [type(group), *(kind for each in below for kind in _groups(each))]


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
            for name, value in flat(layer.options).items():
                if isinstance(value, int) and abs(value) > FINITE:  # Which overflows the parser.
                    raise UserError(f"{name} is too large: give a number that a float can hold")
            for key in ("method", "method.class_path"):
                admit_method(layer.options.get(key))
            merged = parser.parse_object(dict(layer.options), namespace=merged)
            fields = vars(parser.instantiate(merged))
            config = RunConfig(**{name: value for name, value in fields.items() if name != "config"})
        except (ArgumentError, UserError, ImportError, RecursionError) as error:
            raise UserError(f"{layer.place}: {plain_message(error)}") from error
    return config


def plain_message(error: Exception) -> str:
    """An error of the parser in one line, without advice on the parser's own settings."""
    return re.sub(
        r"Importing '(.*?)' is not allowed, .*",
        r"\1 is not imported: only method names a class",
        " ".join(str(error).split()),
    )


@cache
def _merging_parser() -> ArgumentParser:
    """One parser for all merges: making it takes longer than they do."""
    return recipe_parser()


def _require_groups(place: str, options: Mapping[str, Any], defaults: Any, prefix: str = "") -> None:
    """UserError where a group of options (`train`, `model.scratch`, ...) is given a single value, or none."""
    for key, value in options.items():
        name, dot, rest = str(key).partition(".")  # The parser takes dotted keys too.
        group = getattr(defaults, name, None)
        if is_dataclass(group) and not isinstance(group, Method):
            inner = {rest: value} if dot else value
            if not isinstance(inner, Mapping):
                raise UserError(f"{place}: {prefix}{name} is {value!r}: give its options as `name: value`")
            _require_groups(place, inner, group, f"{prefix}{name}.")


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
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # Of a date or a number that cannot be, too.
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
