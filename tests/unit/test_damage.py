"""A checkpoint with a damaged file is refused in one line that names the file; no tensor is ever filled in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentcot.checkpoint import load, start
from latentcot.config import ModelConfig
from latentcot.core import UserError
from latentcot.runs.manifest import MANIFEST
from tests.conftest import ARCHITECTURES, checkpoint, tiny_model

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-2],
    "zeros": lambda content: bytes(len(content)),
    "zeros at its end": lambda content: content + bytes(64),
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
    "list": lambda _: b"[]",
    "null": lambda _: b"null",
    "object": lambda _: b"{}",
    "no text": lambda _: b"\xff\xfe\x00",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    checkpoint(tiny_model("llama")).save(folder)
    assert {path.name for path in folder.iterdir()} == {*FILES, MANIFEST}
    return folder


def copied(sound: Path, tmp_path: Path, manifest: bool) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    if not manifest:
        (folder / MANIFEST).unlink()
    return folder


def refusal(folder: Path) -> str | None:
    """The one line that says why a checkpoint is not loaded; None if it is."""
    try:
        load(folder)
    except UserError as error:
        line = str(error)
    else:
        return None
    assert "\n" not in line
    return line


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_refused_by_name(damage: str, sound: Path, tmp_path: Path) -> None:
    for name in (*FILES, MANIFEST):
        folder = copied(sound, tmp_path, manifest=True)
        content = DAMAGES[damage]((folder / name).read_bytes())
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        line = refusal(folder)
        if (name, damage) == (MANIFEST, "missing"):  # As earlier versions wrote checkpoints.
            assert line is None
        else:
            assert line is not None
            assert name in line
            assert "copy or train it again" in line


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_manifest_nothing_ends_in_a_raw_error(damage: str, sound: Path, tmp_path: Path) -> None:
    """What no longer can be read is named; what still is a file of its kind cannot be told from a sound one."""
    unseen = {("generation_config.json", "object"), ("generation_config.json", "missing")}
    for name in FILES:
        folder = copied(sound, tmp_path, manifest=False)
        content = DAMAGES[damage]((folder / name).read_bytes())
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        line = refusal(folder)
        if damage != "flipped" and (name, damage) not in unseen:
            assert line is not None, (name, damage)
            assert name in line or "no checkpoint there" in line


def test_fields_of_the_configuration_are_checked(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path, manifest=False)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    harmful: dict[str, Any] = {
        "row": [None, 1],
        "thoughts": [None, -1, "3", True, 1.5],
        "max_new_tokens": [None, 0, "3"],
        "frame": [None, [], {}, "state"],
        "frame.slot": [None, "no slot", 3],
        "frame.open": [None, 3, ["a"], [-1], [10**6]],
        "frame.close": [None, "a", [10**6]],
        "frame.pause": ["a", -1, 10**6],
        "named_steps": ["yes"],
        "precision": [16, "fp8", None, []],
    }
    for name, values in harmful.items():
        for value in values:
            changed = json.loads(json.dumps(config))
            *path, last = name.split(".")
            inside = changed["latentcot"][path[0]] if path else changed["latentcot"]
            inside[last] = value
            file.write_text(json.dumps(changed))
            line = refusal(folder)
            assert line is not None, (name, value)
            assert f"latentcot.{name}" in line or "frame" in name, line
        if name not in ("named_steps", "precision"):  # Checkpoints of before have none.
            del inside[last]
            file.write_text(json.dumps(changed))
            assert refusal(folder) is not None
    for name in ("model_type", "vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"):
        for wrong in (None, [], {}, "x", -1, 10**3):
            file.write_text(json.dumps({**config, name: wrong}))
            assert refusal(folder) is not None, (name, wrong)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_tensor_is_filled_in_left_over_or_of_another_shape(architecture: str, tmp_path: Path) -> None:
    checkpoint(tiny_model(architecture)).save(tmp_path)
    assert refusal(tmp_path) is None
    (tmp_path / MANIFEST).unlink()
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    for name in list(tensors)[:: max(1, len(tensors) // 4)]:
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        more, cut = {"other.weight": tensors[name].clone()}, {name: tensors[name][:1].clone()}
        for fault, changed in (
            ("lacks", rest),
            ("holds, beside the model's tensors, other.weight", {**tensors, **more}),
            ("has another shape", {**rest, **cut}),
        ):
            save_file(changed, file, metadata={"format": "pt"})
            line = refusal(tmp_path)
            assert line is not None
            assert f"{file}: " in line
            assert fault in line
            if changed is rest:
                with pytest.raises(UserError, match="lacks"):
                    start(ModelConfig(base=str(tmp_path)), [])


def test_a_run_starts_from_no_damaged_base(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path, manifest=True)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(UserError, match=r"model\.safetensors holds something else than what was written"):
        start(ModelConfig(base=str(folder)), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_that_is_not_finite_is_saved(value: float, tmp_path: Path) -> None:
    broken = checkpoint(tiny_model("gpt2"))
    with torch.no_grad():
        broken.model.transformer.ln_f.weight[3] = value
    with pytest.raises(UserError, match=r"transformer\.ln_f\.weight holds NaN or infinity: nothing is saved"):
        broken.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_empty_is_saved(tmp_path: Path) -> None:
    """As the weights are, in every process, under DeepSpeed ZeRO-3."""
    whole = checkpoint(tiny_model("gpt2"))
    weights = {name: tensor[:0] for name, tensor in whole.model.state_dict().items()}
    with pytest.raises(UserError, match=r"has the shape \[0, 32\] in this process"):
        whole.save(tmp_path / "new", weights)
    assert not (tmp_path / "new").exists()
