"""The command line. Every verb is a function; torch is imported inside those that need it, so help is instant."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from latentcot import __version__
from latentcot.cli import analyze, bench, data, runs, ui
from latentcot.cli.runs import run_train
from latentcot.cli.verbs import Verbs, require_single_process
from latentcot.config import RunConfig
from latentcot.core import UserError
from latentcot.methods import ROWS
from latentcot.ranges import require_ranges
from latentcot.recipe import admit_method, plain_message, prepare_parsing, recipe_parser

VERBS: Verbs = {**runs.VERBS, **data.VERBS, **analyze.VERBS, **ui.VERBS, **bench.VERBS}

GROUPS = {
    (): "Language models that reason in continuous latent space (Coconut, arXiv 2412.06769).",
    ("data",): "Make, convert, split and check data.",
    ("data", "make"): "Make a data set: OUT/train.json, valid.json and test.json.",
    ("analyze",): "Look inside thoughts: each writes a figure (PNG, SVG) and its numbers (CSV, JSON).",
}


def build_parser() -> ArgumentParser:
    """The whole command line."""
    prepare_parsing()
    groups: dict[tuple[str, ...], tuple[ArgumentParser, Any]] = {}
    for path, description in GROUPS.items():  # jsonargparse wants a group before what stands in it.
        parser = _parser(description)
        if path:
            groups[path[:-1]][1].add_subcommand(path[-1], parser, help=description)
        groups[path] = parser, parser.add_subcommands(dest="verb", metavar="VERB", title="verbs")
    for path, (function, special) in VERBS.items():
        groups[path[:-1]][1].add_subcommand(path[-1], _verb(function, special), help=_summary(function))
    groups[()][0].add_argument("--version", action="version", version=f"latentcot {__version__}")
    return groups[()][0]


def _parser(description: str) -> ArgumentParser:
    return ArgumentParser(prog="latentcot", description=description, allow_abbrev=False, exit_on_error=False)


def _verb(function: Callable[..., None], special: dict[str, dict[str, Any]]) -> ArgumentParser:
    parser = recipe_parser() if function is run_train else _parser("")
    parser.description = _summary(function)
    for name, options in special.items():
        parser.add_argument(name, **options)
    fields = {"recipe"} if function is run_train else set()  # The parser of recipes has them as flags.
    parser.add_function_arguments(function, skip=fields | {name.lstrip("-") for name in special})
    return parser


def _summary(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").split("\n\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for a fault that the user can mend, 1 for any other."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        chosen = _parse([_spelled(word) for word in words if word != "--debug"])
        path: tuple[str, ...] = ()
        while "verb" in chosen:
            path = (*path, chosen["verb"])
            chosen = chosen[path[-1]]
        function, values = VERBS[path][0], {name: value for name, value in vars(chosen).items() if name != "config"}
        if function is run_train:
            values = {"run": values.pop("run"), "recipe": RunConfig(**values)}
        if function is not run_train:
            require_single_process(" ".join(path))
        require_ranges(function, values, "--")
        function(**values)
        sys.stdout.flush()
    except (UserError, ArgumentError) as error:
        return _fail(2, _one_line(error), debug)
    except BrokenPipeError:  # As of `| head`: whoever read has enough, so it ends as other tools do, without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as interrupt:
        goes_on = words[:1] in (["train"], ["table"], ["quickstart"]) and not {"--dry-run", "--dry_run"} & set(words)
        said = str(interrupt) or ("the same command goes on from the last checkpoints" if goes_on else "")
        return _fail(130, f"interrupted; {said}" if said else "interrupted", debug)
    except Exception as error:
        return _fail(1, f"{type(error).__name__}: {_one_line(error)} (--debug shows where)", debug)
    return 0


def _parse(words: Sequence[str]) -> Namespace:
    """The verbs chosen and their options; UserError or ArgumentError for a fault."""
    parser = build_parser()
    _admit_method(words)
    try:
        return parser.instantiate(parser.parse_args(words))
    except OverflowError as error:
        raise UserError(f"a number is too large ({error}): give a smaller one") from error


def _admit_method(words: Sequence[str]) -> None:
    """Let the row that the flags name be imported; UserError if they name anything else."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name in ("--method", "--method.class_path", "--method.help"):
            try:
                named = yaml.safe_load(value if equals else following)
            except (yaml.YAMLError, ValueError, RecursionError):  # Which the parser says better.
                continue
            admit_method(named)


def _spelled(word: str) -> str:
    """An option as the parser spells it: --batch-size and --batch_size are the same."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else word


def _one_line(error: Exception) -> str:
    """An error's message in one line, with the rows named where a row is unknown."""
    text = _plain(re.sub(r"(required: )(\w+\.)+", r"\1--", plain_message(error)))
    if 'key "method"' in text or "key 'method'" in text:
        rows = ", ".join(ROWS)
        return f"method: no such row, or an option that it does not have: give one of {rows}, or a dotted name ({text})"
    return text


def _plain(text: str) -> str:
    """The parser's message on a value of the wrong type in words, any other as it is."""
    found = re.fullmatch(
        r'Parser key "([\w.]+)": .*?(Expected a .*?)\.? (?:Given value type: .*Given|Got) value: (.*)', text
    )
    if found is None:
        return text
    types = re.findall(r"Expected a (?:typing\.)?(.*?)(?= - |$)", found[2])
    words = {"<class 'float'>": "a number", "<class 'int'>": "a whole number", "<class 'bool'>": "true or false"}
    wanted = [
        words.get(kind, re.sub(r"Literal\[(.*)\]|<class '(.*)'>", r"\1\2", kind))
        for kind in types
        if "NoneType" not in kind
    ]
    return f"{found[1]} is {found[3]}: give {' or '.join(wanted)}" + (
        ", or leave it out" if len(wanted) < len(types) else ""
    )


def _fail(code: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"latentcot: error: {message}", file=sys.stderr)
    return code
