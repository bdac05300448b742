"""The files of a checkpoint, read so that each damage is one line which names the file, and none goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from latentcot.core import Slot, UserError
from latentcot.files import read_object
from latentcot.runs.manifest import MANIFEST, find_damage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLOCK = "latentcot"
"""The key of config.json under which a checkpoint says how it thinks."""

HINT = "the checkpoint is damaged, copy or train it again"

WEIGHTS = "model.safetensors"

T = TypeVar("T")


def require_sound(path: Path) -> None:
    """UserError, which names the file, if a checkpoint's files are not those of its manifest, or no JSON objects.

    A folder without a manifest (of an earlier version, or of another tool) is only looked into for its JSON files.
    """
    damage = find_damage(path)
    if damage is not None:
        raise UserError(
            f"{path}: {damage}: {HINT} (if it was changed on purpose, remove {MANIFEST}, which tells how it was)"
        )
    for file in sorted(path.glob("*.json")):
        if file.name.startswith(("config", "generation_config", "tokenizer", "special_tokens")):
            read_object(file, HINT)


def read_block(path: Path) -> dict[str, Any]:
    """Return the block of a checkpoint's config.json that says how it thinks; UserError if it is missing or damaged."""
    file = path / "config.json"
    if not path.is_dir() or (not file.exists() and path.name != "best"):
        raise UserError(f"{path}: no checkpoint there: give a run's folder or a checkpoint's")
    block = read_object(file, HINT).get(BLOCK)
    if not isinstance(block, dict):
        raise UserError(f"{file}: no '{BLOCK}' block: this model was not trained by latentcot, train it first")
    require_block(block, file)
    return block


def require_block(block: Mapping[str, Any], file: Path) -> None:
    """UserError, which names the `file` and the field, if the block lacks a field or one holds something else."""
    frame = block.get("frame")
    frame = frame if isinstance(frame, dict) else {}
    sound = {
        "row": isinstance(block.get("row"), str),
        "thoughts": _is_count(block.get("thoughts")),
        "max_new_tokens": _is_count(block.get("max_new_tokens")) and block["max_new_tokens"] > 0,
        "named_steps": isinstance(block.get("named_steps", False), bool),  # Checkpoints of before do not say.
        "precision": block.get("precision", "fp32") in ("fp32", "bf16"),
        "frame.slot": frame.get("slot") in list(Slot),
        "frame.open": _are_counts(frame.get("open")),
        "frame.close": _are_counts(frame.get("close")),
        "frame.pause": _is_count(frame.get("pause")) or ("pause" in frame and frame["pause"] is None),
    }
    for name, is_sound in sound.items():
        if not is_sound:
            raise UserError(f"{file}: {BLOCK}.{name} is missing or holds something else than it should: {HINT}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_count, values))


def read_config(path: Path, trust_remote_code: bool = False) -> PretrainedConfig:
    """Return the configuration of a checkpoint's model; UserError if it is none."""
    return _read(
        f"{path / 'config.json'}: is no model's configuration",
        lambda: AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code),
    )


def read_tokenizer(
    path: Path, block: Mapping[str, Any], model: PreTrainedModel, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Return a checkpoint's tokenizer; UserError if it is damaged or does not fit the model and its markers."""
    place = f"{path}: its tokenizer (tokenizer.json, tokenizer_config.json)"
    tokenizer: PreTrainedTokenizerBase = _read(
        f"{place} cannot be read",
        lambda: AutoTokenizer.from_pretrained(path, padding_side="left", trust_remote_code=trust_remote_code),
    )
    frame, size = block["frame"], len(tokenizer)
    markers = [*frame["open"], *frame["close"], *([] if frame["pause"] is None else [frame["pause"]])]
    if size > model.get_input_embeddings().num_embeddings or any(marker >= size for marker in markers):
        raise UserError(f"{place} has {size:,} tokens, which does not fit the model: {HINT}")
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise UserError(f"{place} has no eos or no pad token: {HINT}")
    return tokenizer


def read_model(path: Path, config: PretrainedConfig, **options: Any) -> PreTrainedModel:
    """Return a checkpoint's model, every tensor of it from its file.

    UserError, which names the tensor, if one is missing (the library would fill it with random numbers), one more is
    there than the model has, or one has another shape.
    """
    with quiet_library():
        model, report = _read(
            f"{path / WEIGHTS}: cannot be read into the model of config.json",
            lambda: AutoModelForCausalLM.from_pretrained(
                path,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # Reported, and refused below.
                **options,
            ),
        )
    require_complete(report, str(path / WEIGHTS))
    return model  # type: ignore[no-any-return]


def require_complete(report: Mapping[str, Any], place: str) -> None:
    """UserError, which names the `place` and a tensor, if the library's report says that weights do not fit a model."""
    faults = {
        "lacks": sorted(report["missing_keys"]),
        "has another shape for": sorted(str(key[0]) for key in report["mismatched_keys"]),
        "holds, beside the model's tensors,": sorted(report["unexpected_keys"]),
        "does not hold what the model needs:": sorted(map(str, report["error_msgs"])),
    }
    for fault, names in faults.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{place}: {fault} {names[0]}{more}: {HINT}")


def require_savable(weights: Mapping[str, Tensor]) -> None:
    """UserError for a tensor that is empty or not finite: a checkpoint of it would be lost work."""
    for name, tensor in weights.items():
        if not tensor.numel():
            raise UserError(
                f"{name} has the shape {list(tensor.shape)} in this process (its values are spread over others, as "
                "under DeepSpeed ZeRO-3): nothing is saved; use DDP or FSDP2 (recipes/accelerate)"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{name} holds NaN or infinity: nothing is saved; lower train.lr, or give train.clip")


@contextmanager
def code_needs_leave(name: str, how: str) -> Iterator[None]:
    """Raise UserError, which says how to give leave, where the library finds code that it was not allowed to run."""
    try:
        yield
    except ValueError as error:
        if not _asks_for_leave(error):
            raise
        raise UserError(f"{name}: the model needs code that comes with it: read that code, then {how}") from error


def _asks_for_leave(error: Exception) -> bool:
    return "trust_remote_code=True" in str(error) and not isinstance(error, UserError)


def _read(fault: str, read: Callable[[], T]) -> T:
    """What `read` returns; UserError, with `fault`, for whatever the libraries raise over a damaged file."""
    try:
        return read()
    except Exception as error:  # Each library raises its own kinds, and some plain Exception.
        if _asks_for_leave(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{fault} ({reason}): {HINT}") from error


@contextmanager
def quiet_library() -> Iterator[None]:
    """Inside, the library does not print its own report of many lines about tensors that are missing."""
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity(transformers.utils.logging.CRITICAL)
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(level)
