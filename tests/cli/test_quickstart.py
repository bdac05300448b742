"""The quickstart end to end at a tiny size: rows, table, report, and going on where it stopped."""

import json
from pathlib import Path

import pytest
import yaml

from latentcot import quickstart
from latentcot.cli import main
from latentcot.recipe import find


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = yaml.safe_load(find("chains.yaml").read_text())
    recipe["curriculum"] |= {"epochs_first": 1, "epochs_per_stage": 1, "epochs": 2}  # The last stage is not reached.
    recipe["model"]["scratch"] |= {"layers": 1, "heads": 2, "width": 16}
    recipe["train"]["max_new_tokens"] = 8
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(quickstart, "RECIPE", tmp_path / "tiny.yaml")
    monkeypatch.setattr(quickstart, "SIZES", {"train": 64, "valid": 4, "test": 6})


@pytest.mark.usefixtures("tiny")
def test_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out.json"
    assert main(["quickstart", f"--run={run}", f"--json={out}", "--seed=3"]) == 0
    printed = capsys.readouterr().out
    assert str(run / "report.html") in printed
    result = json.loads(out.read_text())
    assert result["seed"] == 3
    assert list(result["rows"]) == ["no_cot", "cot", "coconut"]
    for row in result["rows"].values():
        assert row["n"] == 6
        assert {"accuracy", "tokens", "thoughts", "seconds_per_example"} <= row.keys()
    assert "<svg" in (run / "report.html").read_text()

    before = {path: path.read_bytes() for path in run.rglob("log.jsonl")}
    assert len(before) == 3
    assert main(["quickstart", f"--run={run}", "--seed=3"]) == 0  # Nothing is trained again.
    assert {path: path.read_bytes() for path in run.rglob("log.jsonl")} == before
    capsys.readouterr()
    assert main(["quickstart", f"--run={run}", "--seed=4"]) == 2
    assert "give --run a new folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("log.jsonl")} == before
