"""The checkpoint that comes with the package, on the published validation set."""

import json
from pathlib import Path

import pytest

from latentcot.cli import main
from latentcot.files import with_package

VALID = Path(__file__).parents[3] / "shared" / "data" / "prosqa" / "prosqa_valid.json"


@pytest.mark.skipif(not VALID.is_file(), reason="the published validation set is not here")
def test_its_accuracy_is_what_was_published_with_it(tmp_path: Path) -> None:
    run = with_package("checkpoints") / "prosqa-small"
    assert main(["eval", str(run), "--data", str(VALID), "--json", str(tmp_path / "eval.json")]) == 0
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found["n"] == 300
    assert round(found["accuracy"] * 300) == 284
    assert found["thoughts"] == 6
    kept = json.loads((run / "eval-prosqa_valid.json").read_text())
    for name in ("row", "n", "accuracy", "tokens", "thoughts", "outcomes", "sha256"):
        assert found[name] == kept[name]
