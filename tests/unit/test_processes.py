"""What several processes agree on, piece by piece; equivalence/test_processes.py launches them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from latentcot.batch import collate, with_idle_rows
from latentcot.core import NO_LABEL, UserError
from latentcot.think import target_loss, think
from latentcot.training.processes import FSDP_WEIGHTS, forget_repeats, settle_fsdp
from latentcot.training.run import most_at_once
from tests.equivalence.test_think import EVEN, RAGGED

RECIPES = Path(__file__).parents[2] / "recipes" / "accelerate"


@pytest.mark.parametrize("layouts", [EVEN, RAGGED], ids=["even", "ragged"])
def test_idle_rows_change_nothing(model: PreTrainedModel, layouts: Any) -> None:
    batch = collate(layouts, 0)
    grown = with_idle_rows(batch, [0, 5])
    assert grown.thoughts.tolist() == [*batch.thoughts.tolist(), 0, 5]
    before, after = think(model, batch), think(model, grown)
    read = batch.rest_mask
    torch.testing.assert_close(after.logits[: len(layouts)][read], before.logits[read], atol=1e-5, rtol=1e-5)
    loss, more = target_loss(before.logits, batch.labels), target_loss(after.logits, grown.labels)
    torch.testing.assert_close(more, loss, atol=1e-4, rtol=1e-5)


@given(examples=st.integers(1, 60), rows=st.integers(1, 5), world=st.integers(1, 5))
def test_every_example_of_an_epoch_counts_once(examples: int, rows: int, world: int) -> None:
    """The last batch of an epoch, filled up as accelerate does, keeps the labels of what had not come before."""
    start = (examples - 1) // (rows * world) * rows * world
    filled = [*range(start, examples), *[-1] * (start + rows * world - examples)]
    kept: list[int] = []
    for rank in range(world):
        labels = torch.tensor(filled[rank * rows : (rank + 1) * rows])[:, None]
        forget_repeats({"labels": labels}, examples, rows, rank, world)
        kept += labels[labels != NO_LABEL].tolist()
    assert kept == list(range(start, examples))


@given(share=st.integers(1, 200), limit=st.integers(1, 200) | st.none())
def test_micro_batches_make_up_the_share(share: int, limit: int | None) -> None:
    """A recipe's micro_batch may be more than a process's share: the update must not grow with it."""
    rows = most_at_once(share, limit)
    assert share % rows == 0
    assert rows <= (limit or share)
    assert not any(share % more == 0 for more in range(rows + 1, min(share, limit or share) + 1))


@pytest.fixture
def fsdp(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`accelerate launch` with sound settings."""
    for name, value in {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_ACTIVATION_CHECKPOINTING": "false",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    return SimpleNamespace(distributed_state=SimpleNamespace(distributed_type=DistributedType.MULTI_CPU))


def test_fsdp_on_the_cpu_is_not_ddp(fsdp: Any) -> None:
    settle_fsdp(fsdp, None, "adamw")
    assert fsdp.distributed_state.distributed_type is not DistributedType.MULTI_CPU


@pytest.mark.parametrize(
    ("name", "value"),
    [("FSDP_VERSION", "1"), ("FSDP_ACTIVATION_CHECKPOINTING", "true"), ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")],
)
def test_settings_under_which_thoughts_go_wrong(
    name: str, value: str, fsdp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=name.lower()):
        settle_fsdp(fsdp, None, "adamw")


def test_a_run_goes_on_as_it_was_begun(fsdp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="without FSDP"):
        settle_fsdp(fsdp, tmp_path, "adamw")
    (tmp_path / FSDP_WEIGHTS).touch()
    settle_fsdp(fsdp, tmp_path, "adamw")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    with pytest.raises(UserError, match="with FSDP"):
        settle_fsdp(fsdp, tmp_path, "adamw")


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_what_is_tested_is_what_is_used(kind: str) -> None:
    """The settings for the CPU are those for GPUs but for the device; accelerate knows every one of them."""
    known = vars(launch_command_parser().parse_args(["script.py"])).keys() | {"fsdp_version"}
    files = [RECIPES / f"{kind}{device}.yaml" for device in ("", "-cpu")]
    real, cpu = (yaml.safe_load(file.read_text()) for file in files)
    assert {key for key in real | cpu if real.get(key) != cpu.get(key)} == {
        "num_processes",
        "use_cpu",
        "main_process_port",
    }
    assert set(real.get("fsdp_config", {})) <= known
    for file in files:
        load_config_from_file(str(file))  # ValueError for a key that it does not know.


def test_muon_is_refused_under_fsdp(fsdp: Any) -> None:
    with pytest.raises(UserError, match=r"train\.optimizer: muon needs whole matrices"):
        settle_fsdp(fsdp, None, "muon")
