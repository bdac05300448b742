"""`latentcot bench` as a user calls it: figures of every kind, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from latentcot.cli import main
from tests.conftest import checkpoint, tiny_model

TINY = ["--scratch.layers=2", "--scratch.heads=2", "--scratch.width=32", "--scratch.positions=96"]
SMALL = ["--batch=2", "--prompt=10", "--thoughts=2", "--target=3", "--answer-prompt=6", "--repeats=2", "--threads=1"]


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentcot.bench.timing.SQUARES", {"cpu": (64,), "cuda": (64,)})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_measures_random_weights(precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "bench.json"
    assert main(["bench", *TINY, *SMALL, f"--precision={precision}", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["sizes"] == {"batch": 2, "prompt": 10, "thoughts": 2, "target": 3}
    assert figures["precision"] == precision
    for name in ("update_ratio", "thought_ratio", "memory_ratio"):
        assert figures[name] > 0
    assert figures["answers_ratio"].keys() == figures["answers_at_floor"].keys() == {"2", "1"}
    assert figures["share_of_peak"].keys() == {"coconut", "ordinary"}
    assert all(len(seconds) == 2 for seconds in figures["seconds"]["update"].values())
    assert figures["floor"]["coconut"]["passes"] == 4
    assert figures["floor"]["ordinary"]["passes"] == 1
    assert {"code", "machine", "device", "threads", "torch", "transformers"} <= figures.keys()
    printed = capsys.readouterr().out
    for name in ("update_ratio", "thought_ratio", "answers_ratio, batch 2", "answers_ratio, batch 1", "memory_ratio"):
        assert name in printed
    assert f"{figures['update_ratio']:.2f}" in printed
    assert torch.__version__ in printed


def test_it_measures_a_checkpoint(tmp_path: Path) -> None:
    checkpoint(tiny_model("llama", max_position_embeddings=96)).save(tmp_path / "model")
    out = tmp_path / "bench.json"
    assert main(["bench", "--model", str(tmp_path / "model"), *SMALL, "--batch=1", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["model"] == str(tmp_path / "model")
    assert figures["answers_ratio"].keys() == {"1"}


def test_a_result_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    out.write_text("mine")
    assert main(["bench", *TINY, *SMALL, "--json", str(out)]) == 2
    assert "exists: give --json another place" in capsys.readouterr().err
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt=90"], "--prompt: with what follows the prompt 115 positions are measured and the model has 96"),
        (["--answer-prompt=90"], "--answer-prompt: with what follows the prompt 115 positions"),
        (["--batch=0"], "--batch is 0: give 1 or more"),
        (["--repeats=0"], "--repeats is 0: give 1 or more"),
        (["--model=./nothing"], "model.base ./nothing: no such folder"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *TINY, *SMALL, *words]) == 2
    assert said in capsys.readouterr().err
