"""Every number of a run has a range, and none outside it is taken: by a recipe, by a flag, or from Python."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from latentcot import cli, methods
from latentcot.bench.floor import Sizes
from latentcot.cli import VERBS, main
from latentcot.config import RunConfig, Scratch, TrainConfig
from latentcot.core import UserError
from latentcot.ranges import FINITE, Number, Range, numbers_of, require_ranges
from latentcot.recipe import load_config
from latentcot.report.inputs import Inputs


def groups(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type]]:
    """The dataclasses of a configuration, each with where it stands."""
    yield path, type(group)
    for field in fields(group):
        if is_dataclass(below := getattr(group, field.name)):
            yield from groups(below, (*path, field.name))


GROUPS = dict(groups(RunConfig(method=methods.ICoT())))
NUMBERS = {(*path, name): number for path, kind in GROUPS.items() for name, number in numbers_of(kind).items()}
OWNERS = [*GROUPS.values(), Sizes, Inputs, *(function for function, _ in VERBS.values())]


def outside(number: Number) -> list[Any]:
    """Values that the range does not hold, on each side and on none."""
    limits, beyond = number.range, 1 if number.kind is int else 0.5
    low = limits.least if limits.without_least else limits.least - beyond
    high = limits.most if limits.without_most else limits.most + beyond if limits.most < FINITE else math.inf
    return [number.kind(low), high if math.isinf(high) else number.kind(high), math.nan, math.inf, -math.inf, 10**400]


def holds_number(hint: Any) -> bool:
    return hint in (int, float) or any(holds_number(each) for each in get_args(hint))


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_every_number_has_a_range(owner: Any) -> None:
    numbers = {name for name, hint in get_type_hints(owner).items() if name != "return" and holds_number(hint)}
    assert numbers == set(numbers_of(owner))


def test_what_is_checked_is_much() -> None:
    assert len(NUMBERS) > 30
    assert {("train", "clip"), ("seed",), ("data", "filter", "max_words"), ("method", "smoothing")} <= set(NUMBERS)


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_a_number_outside_its_range_is_refused(path: tuple[str, ...], tmp_path: Path) -> None:
    for value in outside(NUMBERS[path]):
        options: Any = value
        for name in reversed(path):
            options = {name: options}
        if path[0] == "method":
            options["method"] = {"class_path": "ICoT", "init_args": options["method"]}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(options))
        with pytest.raises(UserError) as raised:
            load_config(tmp_path / "recipe.yaml")
        (line,) = str(raised.value).splitlines()
        assert path[-1] in line
        with pytest.raises(UserError, match=path[-1]):
            GROUPS[path[:-1]](**{path[-1]: value})


BUILD_PARSER = cache(cli.build_parser)


@pytest.fixture
def _one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a parser takes most of the time of a refused command."""
    monkeypatch.setattr(cli, "build_parser", BUILD_PARSER)


@pytest.mark.usefixtures("_one_parser")
@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_the_command_line_says_it_in_one_line(
    path: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = ["--method=ICoT"] if path[0] == "method" else []
    below = outside(NUMBERS[path])[0]
    assert main(["train", "--run", str(tmp_path / "run"), *method, f"--{'.'.join(path)}={below}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{'.'.join(path[-2:])} is {below}: give " in line
    assert not list(tmp_path.iterdir())


VERB_NUMBERS = [
    (path, name, number) for path, (function, _) in VERBS.items() for name, number in numbers_of(function).items()
]


@pytest.mark.parametrize(("path", "name", "number"), VERB_NUMBERS, ids=lambda value: str(value)[:40])
def test_a_verb_refuses_a_number_outside_its_range(path: tuple[str, ...], name: str, number: Number) -> None:
    function = VERBS[path][0]
    values = {key: each.default for key, each in inspect.signature(function).parameters.items()}
    numbers = dict.fromkeys(numbers_of(function), 1)
    require_ranges(function, {**values, **numbers}, "--")
    for value in outside(number):
        with pytest.raises(UserError, match=f"--{name} is "):
            require_ranges(function, {**values, **numbers, name: value}, "--")


@pytest.mark.usefixtures("_one_parser")
@pytest.mark.parametrize(
    "words",
    [
        ["eval", "x", "--data=y", "--limit=99999999999999999999"],
        ["eval", "x", "--data=y", "--batch-size=0"],
        ["eval", "x", "--data=y", "--thoughts=-1"],
        ["generate", "x", "Q?", "--seed=-1"],
        ["generate", "x", "Q?", "--top_p=1.5"],
        ["generate", "x", "Q?", "--temperature=.nan"],
        ["table", "x", "--run=r", "--jobs=0"],
        ["report", "x", "--limit=-3"],
        ["bench", "--threads=0"],
        ["ui", "x", "--port=65536"],
        ["analyze", "race", "x", "--data=y", "--out=z", "--batch_size=0"],
        ["analyze", "race", "x", "--data=y", "--out=z", "--index=-1"],
        ["data", "make", "prosqa", "--out=z", "--seed=-1"],
        ["data", "make", "prosqa", "--out=z", "--parents=.inf"],
        ["data", "make", "prosqa", "--out=z", "--nodes=1000000000"],
        ["data", "make", "chains", "--out=z", "--train=0"],
        ["data", "split", "x", "--out=z", "--valid=-1", "--test=1"],
    ],
    ids=" ".join,
)
def test_a_verb_says_it_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    flag = words[-2 if words[-1] == "--test=1" else -1].partition("=")[0]
    assert f"{flag.replace('batch-size', 'batch_size')} is " in line
    assert ": give " in line


@given(
    least=st.floats(-10, 10), span=st.floats(0.001, 10), ends=st.tuples(st.booleans(), st.booleans()), value=st.floats()
)
def test_a_range_is_an_interval(least: float, span: float, ends: tuple[bool, bool], value: float) -> None:
    limits = Range(least, least + span, *ends)
    inside = least < value < limits.most or (value == least and not ends[0]) or (value == limits.most and not ends[1])
    assert (value in limits) == inside
    assert math.nan not in limits
    assert math.inf not in Range(0)


@pytest.mark.parametrize("value", [True, "3", None, 1j, 2.5])
def test_only_a_whole_number_is_a_count(value: Any) -> None:
    with pytest.raises(UserError, match=r"model\.scratch\.layers is .*: give a whole number"):
        Scratch(layers=value)


def test_whole_numbers_are_numbers_too() -> None:
    assert TrainConfig(lr=1, clip=0).lr == 1
    assert replace(RunConfig(), seed=2**32 - 1).seed == 2**32 - 1
