"""What a command writes: never over a file that is not its own earlier output, and never over what it reads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from latentcot.cli import main
from latentcot.data import records
from latentcot.files import refuse_overwriting
from tests.cli.test_table import BASE, TABLE
from tests.cli.test_verbs import train


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a small trained run, which the tests leave as they are."""
    folder = tmp_path_factory.mktemp("outputs")
    sizes = ["--train=32", "--valid=4", "--test=6", "--hops=2", "--seed=7"]
    assert main(["data", "make", "chains", "--out", str(folder), *sizes]) == 0
    assert train(folder, folder / "run") == 0
    return folder


def fail_to_load(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded before the outputs were checked")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def foreign(home: Path, place: Path) -> dict[str, Path]:
    """Files that no evaluation on the test set may write over."""
    thesis = place / "thesis.txt"
    thesis.write_text("years of work")
    result = place / "other.json"
    result.write_text(json.dumps({"sha256": "of other data", "accuracy": 1.0}))
    predictions = place / "other.jsonl"
    example = records.read(home / "valid.json")[0]
    line = {"question": example.question, "gold": example.answer, "text": "", "correct": False, "tokens": 0}
    predictions.write_text(json.dumps(line) + "\n")
    link = place / "link.json"
    link.symlink_to(home / "test.json")
    folder = place / "folder"
    folder.mkdir()
    dangling = place / "dangling"
    dangling.symlink_to(place / "nowhere")
    files = [home / "test.json", home / "train.json", home / "run/config.yaml", home / "run/best/model.safetensors"]
    return {path.name: path for path in [thesis, result, predictions, link, folder, dangling, *files]}


@pytest.mark.parametrize("flag", ["--json", "--predictions"])
@pytest.mark.parametrize(
    "name",
    [
        "thesis.txt", "other.json", "other.jsonl", "link.json", "folder", "dangling", "test.json", "train.json",
        "config.yaml", "model.safetensors",
    ],
)  # fmt: skip
def test_eval_writes_over_no_other_file(
    flag: str,
    name: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = foreign(home, tmp_path)[name]
    before = contents(home), contents(tmp_path)
    monkeypatch.setattr("latentcot.checkpoint.load", fail_to_load)
    assert main(["eval", str(home / "run"), "--data", str(home / "test.json"), flag, str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path}: " in line
    assert f"give {flag} another place" in line
    assert (contents(home), contents(tmp_path)) == before


def test_eval_writes_over_its_own_outputs_alone(home: Path, tmp_path: Path) -> None:
    words = ["eval", str(home / "run"), "--data", str(home / "test.json")]
    outputs = [f"--json={tmp_path / 'out.json'}", f"--predictions={tmp_path / 'out.jsonl'}"]
    assert main([*words, *outputs]) == 0
    before = contents(tmp_path)
    assert main([*words, *outputs, "--thoughts=0"]) == 0
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path) != before
    for other in (["--limit=3"], [f"--data={home / 'valid.json'}"]):
        assert main([*words, *other, outputs[1], f"--json={tmp_path / other[0][-7:].strip('-./')}"]) == 2


def test_predictions_that_are_evaluated_are_not_written_over(home: Path, tmp_path: Path) -> None:
    """They would be recognised as predictions for this data."""
    out = tmp_path / "out.jsonl"
    words = ["eval", str(home / "run"), f"--json={tmp_path / 'out.json'}", f"--predictions={out}"]
    assert main([*words, "--data", str(home / "test.json")]) == 0
    rows = [json.loads(line) | {"steps": []} for line in out.read_text().splitlines()]
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = out.read_bytes()
    read = ["--columns.answer=gold", "--columns.steps=steps", "--columns.question=question"]
    assert main([*words[:2], f"--json={tmp_path / 'two.json'}", words[3], "--data", str(out), *read]) == 2
    assert out.read_bytes() == before


def test_one_file_is_not_two_outputs(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out"
    words = ["eval", str(home / "run"), "--data", str(home / "test.json"), f"--json={path}"]
    assert main([*words, f"--predictions={tmp_path / '..' / tmp_path.name / 'out'}"]) == 2
    assert "another output of this command" in capsys.readouterr().err
    assert not path.exists()


def test_a_table_does_not_write_over_its_recipe(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(home)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(BASE))
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(TABLE))
    (tmp_path / "mine.yaml").write_text("extends: table.yaml\n")
    before = contents(tmp_path)
    for recipe in ("table.yaml", "mine.yaml"):
        assert main(["table", recipe, "--run=."]) == 2
        assert "table.yaml: " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_quickstart_writes_over_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "thesis.json"
    for content in ("years of work", json.dumps({"seed": 1, "seconds": 2, "machine": "", "rows": {}}), "[]"):
        path.write_text(content)
        assert main(["quickstart", f"--run={tmp_path / 'run'}", f"--json={path}"]) == 2
        assert path.read_text() == content
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("is_own", [lambda path: True, lambda path: False])
def test_a_device_is_never_replaced(is_own: Callable[[Path], bool]) -> None:
    with pytest.raises(ValueError, match="/dev/null: holds something else than x: give --json another place"):
        refuse_overwriting(Path("/dev/null"), "--json", "x", is_own)
