"""A model that comes with its own code trains, and is used by every verb, where the user allows that code each time."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, dynamic_module_utils

import latentcot
from latentcot.cli import main
from tests.cli.test_verbs import SMALL
from tests.conftest import checkpoint, tiny_model

CONFIGURATION = """
from transformers import LlamaConfig

class OwnConfig(LlamaConfig):
    model_type = "own_llama"
"""
MODEL = """
import os
from pathlib import Path
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig

Path(os.environ["OWN_CODE_RAN"]).touch()

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = -output.logits
        return output
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once the model's code ran."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("OWN_CODE_RAN", str(tmp_path / "ran"))
    return tmp_path / "ran"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model of an architecture that transformers does not know, beside the code that does."""
    folder = tmp_path / "base"
    thinker = checkpoint(tiny_model("llama"))
    thinker.save(folder)
    (folder / "manifest.json").unlink()  # As of a model that others made.
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "modeling_own.py").write_text(MODEL)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own_llama",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_every_verb_runs_a_models_code_only_with_leave(
    base: Path,
    ran: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, run = tmp_path / "data.json", tmp_path / "run"
    records = [{"question": f"w{n} w{n + 1}", "steps": ["w1", "w2"], "answer": f"w{n}"} for n in range(8)]
    data.write_text(json.dumps(records))
    small = [flag for flag in SMALL if "scratch" not in flag]
    files = [f"--data.train={data}", f"--model.base={base}", *small]
    training = ["train", f"--run={run}", *files]
    assert main(training) == 2
    assert f"{base}: the model needs code that comes with it" in (said := capsys.readouterr().err)
    assert "model.trust_remote_code" in said
    assert not ran.exists()
    assert main([*training, "--model.trust_remote_code=true"]) == 0
    assert {"configuration_own.py", "modeling_own.py"} <= {file.name for file in (run / "best").iterdir()}
    ran.unlink()

    capsys.readouterr()
    out = tmp_path / "out"
    verbs = [
        ["eval", str(run), f"--data={data}"],
        ["generate", str(run), "w3 w4"],
        ["generate", str(run), f"--data={data}", f"--out={tmp_path / 'answers.jsonl'}"],
        ["analyze", "decode", str(run), f"--data={data}", f"--out={out}", "--limit=2"],
        ["report", str(run), f"--data={data}", "--limit=2"],
        ["bench", f"--model={run}", "--repeats=1"],
        ["ui", str(run), "--port=7999"],
    ]
    for verb in verbs:
        assert main(verb) == 2, verb
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("latentcot: error: ")
        assert "best: the model needs code that comes with it: read that code, then" in said
    assert not ran.exists()
    for verb in verbs[:3]:
        assert main([*verb, "--trust-remote-code"]) == 0, verb
    assert ran.exists()
    with pytest.raises(latentcot.UserError, match="load with trust_remote_code=True"):
        latentcot.load(run)
    loaded = latentcot.load(run, device="cpu", trust_remote_code=True)
    assert type(loaded.model).__name__ == "OwnForCausalLM"

    given: list[bool] = []

    def refuse(*_: object, trust_remote_code: bool, **__: object) -> None:
        given.append(trust_remote_code)
        raise latentcot.UserError("seen")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", refuse)
    for verb in verbs:
        assert main([*verb, "--trust-remote-code"]) == 2
    assert given == [True] * len(verbs)
