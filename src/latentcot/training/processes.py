"""What several processes have to agree on, so that together they do what one would.

Under FSDP2 every process holds a share of the weights, and a forward or backward pass gathers them: all processes must
make the same passes, and FSDP2 must see that each pass is a part of what is differentiated.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import TrainingArguments

from latentcot.architecture import Together
from latentcot.batch import with_idle_rows
from latentcot.core import NO_LABEL, Batch, UserError
from latentcot.runs.manifest import FSDP_WEIGHTS
from latentcot.think import batch_plan

Inputs = dict[str, Any]
"""A batch as the mapping that the Trainer moves to its device."""


def fsdp_is_wanted() -> bool:
    """Whether `accelerate launch` was told to use FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP") == "true"


def settle_fsdp(arguments: TrainingArguments, resume: Path | None, optimizer: str) -> None:
    """Make accelerate's settings of FSDP count, on the CPU too; UserError for those under which thoughts go wrong.

    `resume` is the checkpoint that the run continues from, if there is one; `optimizer` is what train.optimizer says.
    """
    wanted = fsdp_is_wanted()
    if resume and (resume / FSDP_WEIGHTS).exists() != wanted:
        raise UserError(f"{resume}: written {'without' if wanted else 'with'} FSDP: continue the run as it was begun")
    if not wanted:
        return
    if optimizer == "muon":
        raise UserError("train.optimizer: muon needs whole matrices, and FSDP spreads them over processes: give adamw")
    if os.environ.get("FSDP_VERSION") != "2":
        raise UserError("fsdp_version: thoughts need FSDP2: give 2 (see recipes/accelerate/fsdp2.yaml)")
    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING") == "true":
        raise UserError("fsdp_activation_checkpointing: it would feed the KV cache twice: give false")
    if os.environ.get("FSDP_STATE_DICT_TYPE") != "FULL_STATE_DICT":
        raise UserError("fsdp_state_dict_type: give FULL_STATE_DICT: the index of a sharded one is read unsafely")
    state = arguments.distributed_state
    if state.distributed_type is DistributedType.MULTI_CPU:  # Where accelerate would fall back on DDP without a word.
        state.distributed_type = DistributedType.MULTI_GPU


class OneDeviceArguments(TrainingArguments):  # type: ignore[misc]
    """Arguments of a process that uses one device, however many there are.

    The stock Trainer would share the model over all of them (`nn.DataParallel`), with one KV cache and larger updates.
    """

    @property
    def n_gpu(self) -> int:
        """Return the number of GPUs of this process: 0 or 1."""
        return min(int(super().n_gpu), 1)


def unused_devices_note() -> str | None:
    """Return a line on how to use several GPUs if this process, started without a launcher, leaves some idle."""
    count = torch.cuda.device_count()
    if count < 2 or int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return None
    return (
        f"one of {count} GPUs is used: `accelerate launch --config_file recipes/accelerate/ddp.yaml --num_processes "
        f"{count} -m latentcot train ...` uses all"
    )


def forget_repeats(batch: Inputs, examples: int, rows: int, rank: int, world: int) -> None:
    """Take the labels off the examples that accelerate repeats to fill up an epoch's last batch, thoughts' included.

    `batch` is the share of this process, of `rows` rows; the shares follow one another in the order of the ranks.
    """
    real = examples % (rows * world)
    if real:
        for marks in (batch["labels"], batch.get("taught")):
            if marks is not None:
                marks[max(real - rank * rows, 0) :] = NO_LABEL


def agree(batches: Sequence[Inputs], model: nn.Module, most: int, accelerator: Accelerator) -> list[Inputs]:
    """The micro-batches, each with the rows it needs to take as many passes here as in every other process.

    `most` is the largest number of thoughts that a row of any of them can have.
    """
    seen = torch.zeros((1, len(batches), most + 1), dtype=torch.int, device=accelerator.device)
    for index, batch in enumerate(batches):
        seen[0, index, batch["thoughts"]] = 1
    together, agreed = batch_plan(model).together, []
    if together is Together.SAME_SHAPE:
        raise UserError("FSDP: on this model only rows of equal lengths share a batch: train it without FSDP")
    for batch, numbers in zip(batches, accelerator.gather(seen).amax(dim=0), strict=True):
        wanted = numbers.nonzero()[:, 0].tolist()
        if together is Together.ANY:
            wanted = wanted[-1:]  # Rows with fewer thoughts idle, so the longest decides.
        missing = sorted(set(wanted) - set(batch["thoughts"].tolist()))
        agreed.append(vars(with_idle_rows(Batch(**batch), missing)))
    return agreed


class Shards:
    """A model whose weights FSDP2 spreads over the processes.

    With `reshard` (fsdp_reshard_after_forward) a layer's weights are gathered anew in every pass, forward and backward;
    without, once an update, and they stay until its last backward pass is over. Embeddings, last norm and head stay
    during forward in any case.
    """

    def __init__(self, model: nn.Module, reshard: bool) -> None:
        self.model, self.reshard = model, reshard
        model.register_forward_hook(_tie_empty_logits)
        # A thought is a view of a last hidden state; nothing here writes into one.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Forward and backward of one micro-batch; after the last of an update the weights are spread again."""
        modules, layers = self._modules(), self._layers()
        for module in modules:
            module.set_reshard_after_forward(self.reshard and module in layers, recurse=False)
            module.set_reshard_after_backward(self.reshard, recurse=False)
        yield
        if last:
            for module in modules:
                module.reshard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, every process has all weights and may make any number of passes without gradient."""
        modules = self._modules()
        for module in modules:
            module.set_reshard_after_forward(False, recurse=False)
            module.unshard()
        yield
        modules[0].reset_iter_state()  # A call of the embedding layer alone leaves a pass open.

    def _modules(self) -> list[FSDPModule]:
        """Modules whose weights are gathered together, the whole model first."""
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    def _layers(self) -> set[Any]:
        """The layers of the model, and whatever else it has lists of."""
        return {layer for module in self.model.modules() if isinstance(module, nn.ModuleList) for layer in module}


def _tie_empty_logits(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """Make the last hidden states of a pass without logits depend on them, with gradient 0.

    FSDP2 readies the last norm's weights for backward together with the head's, where the head's output gets a
    gradient. That of a thought's pass is empty and would get none, and the norm would meet weights that are gone.
    """
    if torch.is_grad_enabled() and not output.logits.numel():
        output.hidden_states = (*output.hidden_states[:-1], output.hidden_states[-1] + 0 * output.logits.sum())
    return output
