"""A run's files, sound and damaged: what is wrong is said in one line that names the file and the mend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from latentcot.analysis.sweep import finished
from latentcot.cli import main
from latentcot.config import RunConfig
from latentcot.core import UserError
from latentcot.files import with_package
from latentcot.runs.records import (
    find_damage,
    read_config,
    read_evaluation,
    read_log,
    read_result,
    read_test,
    read_threads,
)  # fmt: skip
from tests.unit.run_folders import BEST, LOG, TEST, write_records

READERS: dict[str, Callable[[Path], Any]] = {
    "config.yaml": read_config,
    "result.json": read_result,
    "test.json": read_test,
    "log.jsonl": read_log,
    "environment.json": read_threads,
    "eval-data.json": lambda run: read_evaluation(run / "eval-data.json"),
}
WRONG = [None, True, [3], "text", -1.5, {"a": {}}]


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) * 2 // 3],
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:-9] + bytes(9),
    "no text": lambda content: b"\xff\xfe\x80" + content,
    "[]": lambda content: b"[]",
    "null": lambda content: b"null",
    "{}": lambda content: b"{}",
    "a number": lambda content: b"3",
    "a text": lambda content: b'"text"',
    "deep": lambda content: b"[" * 5_000,
    "no syntax": lambda content: b"{: }]",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_records(folder, RunConfig(), dict.fromkeys(("train", "valid"), "0" * 64))
    (folder / "test.json").write_text(json.dumps(TEST))
    (folder / "environment.json").write_text(json.dumps({"pieces": [{"from_update": 0, "threads": 2}]}))
    (folder / "eval-data.json").write_text(json.dumps(BEST))
    return folder


def fault(read: Callable[[Path], Any], run: Path, name: str) -> str:
    with pytest.raises(UserError) as error:
        read(run)
    line = str(error.value)
    assert line.startswith(f"{run / name}: ")
    assert "\n" not in line
    assert len(line) < 600
    assert any(mend in line for mend in ("restore it", "remove this file"))
    return line


def test_sound_files_are_read(run: Path) -> None:
    assert read_config(run)["curriculum"]["thoughts_per_step"] == RunConfig().curriculum.thoughts_per_step
    assert read_result(run)["best"] == BEST
    assert read_test(run) == TEST
    assert read_log(run) == LOG
    assert read_threads(run) == [2]
    assert find_damage(run) is None
    (run / "environment.json").unlink()
    assert read_threads(run) == []
    assert find_damage(run.parent / "new") is None


def test_the_files_of_the_run_that_comes_with_the_package_are_read() -> None:
    run = with_package("checkpoints") / "prosqa-small"
    assert find_damage(run) is None
    assert len(read_log(run)) > 10
    assert read_result(run)["best"]["accuracy"] == 0.95


@pytest.mark.parametrize("damage", BYTES)
@pytest.mark.parametrize("name", READERS)
def test_damaged_bytes(name: str, damage: str, run: Path) -> None:
    file = run / name
    file.write_bytes(BYTES[damage](file.read_bytes()))
    if name == "log.jsonl" and damage == "empty":
        assert read_log(run) == []  # So it is until the first update is logged.
        return
    line = fault(READERS[name], run, name)
    if name not in ("log.jsonl", "eval-data.json"):
        assert find_damage(run) == line


def paths(tree: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path for key, value in items for path in [(*before, key), *paths(value, (*before, key))]]


def changed(tree: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy with another value at a place, or with none there."""
    copy = json.loads(json.dumps(tree))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if value:
        holder[path[-1]] = value[0]
    else:
        del holder[path[-1]]
    return copy


@pytest.mark.parametrize("name", ["config.yaml", "result.json", "test.json", "eval-data.json"])
def test_every_value_of_a_wrong_type_is_named_or_not_used(name: str, run: Path) -> None:
    """Whatever stands in the place of a value: the file is refused, or all that reads it works."""
    file = run / name
    sound = yaml.safe_load(file.read_text())
    refused = 0
    for path in paths(sound):
        if name == "config.yaml" and path[:1] not in (("curriculum",), ("data",), ("sha256",)):
            continue  # What nothing here reads.
        for tree in (changed(sound, path), *(changed(sound, path, value) for value in WRONG)):
            file.write_text(json.dumps(tree))  # JSON is YAML too.
            said = user_error(READERS[name], run)
            if said is not None:
                refused += 1
                assert said.startswith(f"{file}: ")
            elif name in ("config.yaml", "result.json"):
                user_error(finished, [run])  # Anything else that it raises fails the test.
    assert refused > 20


def user_error(call: Callable[..., Any], *arguments: Any) -> str | None:
    """What a call says is wrong; None if it says nothing."""
    try:
        call(*arguments)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("result.json", ("stages", 1, "accuracy"), "high", "stages.1.accuracy is 'high' and not a number: "),
        ("result.json", ("best", "tokens"), None, "best.tokens is 'None' and not a number: "),
        ("test.json", ("right",), 1.5, "right is '1.5' and not a whole number: "),
        ("test.json", ("n",), True, "n is 'True' and not a whole number: "),
        ("config.yaml", ("data", "valid"), 3, "data.valid is '3' and not a text, a list or null: "),
    ],
)
def test_what_is_wrong_is_named(name: str, path: tuple[Any, ...], value: Any, said: str, run: Path) -> None:
    file = run / name
    file.write_text(json.dumps(changed(yaml.safe_load(file.read_text()), path, value)))
    assert said in fault(READERS[name], run, name)
    file.write_text(json.dumps(changed(yaml.safe_load(file.read_text()), path)))
    assert f"{'.'.join(map(str, path))} is missing: " in fault(READERS[name], run, name)


def test_a_damaged_line_of_the_log_is_numbered(run: Path) -> None:
    for bad, said in [('{"step": 3', "damaged"), ("3", "line 3 is '3'"), ('{"step": 3}', "line 3.stage is missing")]:
        (run / "log.jsonl").write_text("".join(f"{line}\n" for line in [*map(json.dumps, LOG), bad]))
        line = fault(read_log, run, "log.jsonl")
        assert "line 3" in line
        assert said in line


@pytest.mark.parametrize("damage", ["empty", "{}"])
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("report", "config.yaml"),
        ("report", "result.json"),
        ("report", "log.jsonl"),
        ("report", "eval-data.json"),
        ("sweep", "config.yaml"),
        ("sweep", "result.json"),
    ],
)
def test_verbs_name_the_file(
    verb: str, name: str, damage: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if (name, damage) == ("log.jsonl", "empty"):
        return
    file, out = run / name, tmp_path / "out"
    file.write_bytes(BYTES[damage](file.read_bytes()))
    words = ["report", str(run), f"--out={out}.html"] if verb == "report" else ["analyze", "sweep", str(run)]
    assert main(words + ([] if verb == "report" else [f"--out={out}"])) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{file}: " in line
    assert "(--debug shows where)" not in line
    assert list(tmp_path.iterdir()) == [run]


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "config.yaml: is missing: give the folder of a run" in capsys.readouterr().err
