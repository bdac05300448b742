"""What verbs share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from latentcot.core import UserError

Verbs = dict[tuple[str, ...], tuple[Callable[..., None], dict[str, dict[str, Any]]]]
"""Verbs, their functions, and those of their parameters that are positional or switches."""

STARTERS = {"srun": "SLURM_STEP_NUM_TASKS", "mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE"}
"""What starts several tasks, and the variable that says how many; launchers of PyTorch set WORLD_SIZE as well.

SLURM_NTASKS will not do: a batch script has it too, where its commands run once.
"""

TRUST: dict[str, dict[str, Any]] = {
    "--trust_remote_code": {
        "action": "store_true",
        "help": "Run code that comes with the model, which you have read. Only a checkpoint whose base needed it does.",
    }
}
"""The switch of every verb that loads a checkpoint: leave to run code is given anew each time, never stored."""


def require_launcher() -> None:
    """UserError if this is one of several processes that a cluster's starter began without joining them, or if they
    were joined in a way in which thoughts are not trained."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise UserError(
            "DeepSpeed: its shares of weights and optimizer are neither saved nor reset here: use FSDP2 instead "
            "(accelerate launch --config_file recipes/accelerate/fsdp2.yaml), or ddp.yaml for models that fit one GPU"
        )
    if os.environ.get("ACCELERATE_USE_MEGATRON_LM") == "true":
        raise UserError("Megatron-LM: thoughts are not trained with it: use recipes/accelerate/fsdp2.yaml")
    for starter, name in STARTERS.items():
        if "WORLD_SIZE" not in os.environ and int(os.environ.get(name) or 1) > 1:
            raise UserError(
                f"{starter} started {os.environ[name]} tasks ({name}) that do not know of each other and would train "
                "one folder: start one task a machine, in it `accelerate launch --config_file "
                "recipes/accelerate/ddp.yaml --num_processes GPUS -m latentcot train ...` (or unset "
                f"{name} for independent runs)"
            )


def require_single_process(verb: str) -> None:
    """UserError if a launcher started several processes for a verb that would do everything in each of them."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise UserError(f"{verb}: does its work in one process: start it without a launcher (only train shares work)")
