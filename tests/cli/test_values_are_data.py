"""What recipes, tables, flags and run folders hold is data: nothing is run, made or imported for it but rows.

Each case names something that leaves a trace: a module that writes a file when it is imported, a command, and a class
that empties a file when it is made.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentcot import cli
from latentcot.cli import main
from latentcot.config import RunConfig, Scratch
from latentcot.core import UserError
from latentcot.methods import Coconut
from latentcot.recipe import load_config

BUILD_PARSER = cache(cli.build_parser)
"""Making a parser takes most of the time of a refused command."""


def places(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every group and every field of a configuration."""
    for field in fields(group):
        yield (*path, field.name)
        if is_dataclass(below := getattr(group, field.name)) and field.name != "method":
            yield from places(below, (*path, field.name))


FREE = [("model", "scratch", "fields", "x"), ("method", "init_args", "x"), ("no", "such", "group")]
PLACES = [*places(RunConfig()), *FREE]


def nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


class Trap:
    """Values that leave a trace where they are carried out, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.imported, self.ran, self.emptied = folder / "imported", folder / "ran", folder / "thesis.txt"
        self.emptied.write_text("years of work")
        code = f"from pathlib import Path\nPath({str(self.imported)!r}).touch()\n"
        (folder / "trap.py").write_text(code + "class Klass:\n    pass\ndef function() -> int:\n    return 0\n")
        (folder / "sub.yaml").write_text("{class_path: trap.Klass}")
        command = {"args": f"touch {self.ran}", "shell": True}
        self.values = [
            "trap.Klass",
            {"class_path": "trap.Klass"},
            {"class_path": "trap.function"},
            {"class_path": "subprocess.Popen", "init_args": command},
            {"class_path": "io.FileIO", "init_args": {"file": str(self.emptied), "mode": "w"}},
            [{"class_path": "trap.Klass"}, {"deep": {"class_path": "trap.Klass"}}],
        ]

    def require_untouched(self) -> None:
        assert "trap" not in sys.modules
        assert not self.imported.exists()
        assert not self.ran.exists()
        assert self.emptied.read_text() == "years of work"


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cli, "build_parser", BUILD_PARSER)
    trap = Trap(tmp_path)
    yield trap
    sys.modules.pop("trap", None)


def run(*words: str) -> Any:
    """The exit code of a command, whichever way it ends; that it ends as it should is what other tests are for."""
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("path", PLACES, ids=".".join)
def test_a_recipe(path: tuple[str, ...], trap: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    for value in trap.values:
        for options in (nested(path, value), {".".join(path): value}):
            Path("base.yaml").write_text(yaml.safe_dump(options))
            Path("top.yaml").write_text("extends: base.yaml\nseed: 1\n")
            with suppress(UserError):
                load_config("top.yaml")
            trap.require_untouched()
    assert run("train", "--run=r", "--config=top.yaml", "--print_config") in (0, 2)
    assert run("data", "check", "none.json", "--recipe=top.yaml") == 2
    trap.require_untouched()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("path", PLACES, ids=".".join)
def test_a_flag(path: tuple[str, ...], trap: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    flag = f"--{'.'.join(path)}"
    for words in (
        *([f"{flag}={json.dumps(value)}"] for value in trap.values),
        [flag, "trap.Klass"],
        [f"{flag}.class_path=trap.Klass"],
        [f"{flag}.class_path=subprocess.Popen", f"{flag}.init_args={{args: touch ran, shell: true}}"],
        [f"{flag}=sub.yaml"],
        [f"{flag}.help=trap.Klass"],
    ):
        assert run("train", "--run=r", *words, "--print_config") in (0, 2), words
        trap.require_untouched()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["columns", "columns.mark", "filter", "scratch", "scratch.fields.x", "data", "steps"])
@pytest.mark.parametrize(
    "verb",
    [
        ["data", "convert", "none.json", "--out=o.json"],
        ["data", "split", "none.json", "--out=o", "--valid=1", "--test=1"],
        ["data", "check", "none.json"],
        ["eval", "none", "--data=none.json"],
        ["analyze", "race", "none", "--data=none.json", "--out=o"],
        ["ui", "none", "--port=1", "--host=0.0.0.1"],
        ["bench", "--json=thesis.txt"],  # Refused, since the file is there.
    ],
    ids=" ".join,
)
def test_a_flag_of_another_verb(verb: list[str], flag: str, trap: Trap) -> None:
    for value in trap.values:
        assert run(*verb, f"--{flag}={json.dumps(value)}") == 2
    assert run(*verb, f"--{flag}=sub.yaml") == 2
    assert run(*verb, f"--{flag}.class_path=trap.Klass") == 2
    trap.require_untouched()


OVER = {
    "options": lambda options: {"options": options},
    "rows": lambda options: {"rows": {"cot": options}},
    "datasets.options": lambda options: {"datasets": {"d": {"options": options}}},
    "datasets.rows": lambda options: {"datasets": {"d": {"rows": {"cot": options}}}},
}


@pytest.mark.parametrize("over", OVER)
def test_a_table(over: str, trap: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text("data: {train: none.json, valid: none.json}")
    base = {"rows": {"cot": {"method": "CoT"}}, "datasets": {"d": {"recipe": "run.yaml", "test": "none.json"}}}
    Path("base.yaml").write_text(yaml.safe_dump(base))
    for path in [*places(RunConfig()), *FREE]:
        value = trap.values[3 if path[-1] == "x" else 1]
        Path("top.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", **OVER[over](nested(path, value))}))
        assert run("table", "top.yaml", "--run=r", "--dry-run") == 2
        trap.require_untouched()
    for field in ("seeds", "rows", "datasets"):
        Path("top.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", field: trap.values[1]}))
        assert run("table", "top.yaml", "--run=r", "--dry-run") == 2
    trap.require_untouched()
    assert not Path("r").exists()


def test_a_run_folder(trap: Trap) -> None:
    Path("good.json").write_text(json.dumps([{"question": "A B. From A?", "steps": ["A B."], "answer": "B"}]))
    Path("r").mkdir()
    for path in FREE:
        Path("r/config.yaml").write_text(yaml.safe_dump(nested(path, trap.values[1])))
        assert run("train", "--run=r", "--data.train=good.json") == 2
        assert run("report", "r") == 2
    trap.require_untouched()


def test_what_yaml_makes_of_tags_and_references_is_refused(tmp_path: Path) -> None:
    for text, said in (
        ("train: !!python/object/apply:os.system [ls]", "not YAML"),
        ("train: &again {x: *again}", "recipe.yaml"),
        ("seed: " + "9" * 5000, "not YAML"),
        ("data: {train: 2024-13-45}", "not YAML"),
        ("[" * 1500, "not YAML"),
        ("model: {scratch: {fields: {x: 2024-01-02}}}", "model.scratch.fields.x is datetime.date"),
        ("model: {scratch: {fields: {x: [1, !!binary aGk=]}}}", "model.scratch.fields.x[1] is b'hi'"),
    ):
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(UserError) as raised:
            load_config(tmp_path / "recipe.yaml")
        assert said in str(raised.value)


@pytest.mark.parametrize("value", [object(), Path("x"), Coconut(), [{"deep": print}], {"deep": [{1, 2}]}])
def test_fields_of_an_architecture_are_data_in_python_too(value: Any) -> None:
    with pytest.raises(UserError, match=r"model\.scratch\.fields\.x.* is .*: give numbers, texts"):
        Scratch(fields={"x": value})


def test_data_of_every_kind_are_fields() -> None:
    held = {"x": [1, 2.5, "a", True, None, {"deep": [{"class_path": "trap.Klass"}]}], "y": 3}
    assert Scratch(fields=held).fields == held


MODULES = {
    "plain": "from latentcot.methods import Coconut\nclass Mine(Coconut): pass\n",
    "renamed": "from latentcot.methods import Coconut as Base\nclass Mine(Base): pass\n",
    "whole": "import latentcot.methods\nclass Mine(latentcot.methods.Coconut): pass\n",
    "aliased": "import latentcot.methods.coconut as c\nclass Mine(c.Coconut): pass\n",
    "starred": "from latentcot.methods import *\nclass Mine(Coconut): pass\n",
    "second": "from typing import Generic, TypeVar\nfrom latentcot.methods import CoT\nclass A: pass\n"
    "class B(CoT): pass\nclass Mine(A, B, Generic[TypeVar('T')]): pass\n",
    "tried": "try:\n    import nothing_of_the_kind\nexcept ImportError:\n    from latentcot.methods import CoT\n"
    "if True:\n    class Mine(CoT): pass\n",
    "package.inner": "from ..plain import Mine as Other\nfrom plain import Mine as Base\nclass Mine(Base): pass\n",
    "package": "from .parts import Mine\n",
    "package.parts": "from plain import Mine as Base\nclass Mine(Base): pass\n",
    "options": "from dataclasses import dataclass\nfrom latentcot.methods import Coconut\n"
    "@dataclass(frozen=True)\nclass Part:\n    rate: float = 0.5\n"
    "@dataclass(frozen=True)\nclass Mine(Coconut):\n    part: Part = Part()\n",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    for name, text in MODULES.items():
        file = tmp_path / Path(*name.split("."))
        if name == "package":
            file = file / "__init__"
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in MODULES:
            del sys.modules[name]


@pytest.mark.parametrize("module", [name for name in MODULES if name != "package.inner"])
def test_a_row_of_the_users_own_is_found(module: str, modules: Path) -> None:
    recipe = modules / "recipe.yaml"
    for text in (
        f"method: {module}.Mine",
        f"method: {{class_path: {module}.Mine}}",
        f"method.class_path: {module}.Mine",
    ):
        recipe.write_text(text)
        assert type(load_config(recipe).method).__name__ == "Mine"


def test_a_row_has_dataclasses_of_its_own_as_options(modules: Path) -> None:
    (modules / "recipe.yaml").write_text("method: {class_path: options.Mine, init_args: {part: {rate: 0.25}}}")
    assert load_config(modules / "recipe.yaml").method.part.rate == 0.25  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    [
        "trap.Klass",
        "trap.function",
        "trap.nothing",
        "nothing.Mine",
        "this.Mine",
        "math.pi",
        "os.system",
        "..Mine",
        "a..b",
    ],
)
def test_what_is_no_row_is_not_imported(name: str, trap: Trap) -> None:
    before = set(sys.modules)
    Path("recipe.yaml").write_text(yaml.safe_dump({"method": name}))
    with pytest.raises(UserError, match="no such row"):
        load_config("recipe.yaml")
    assert set(sys.modules) == before
    trap.require_untouched()
