"""What `accelerate launch` runs in the tests: training runs one after another, watched and perhaps interrupted.

    launched.py RUNS

RUNS is a JSON file: [{"words": ["train", ...], "run": FOLDER, "stop_at": UPDATE or null, "reshard": bool}, ...]

With "diverge": [RANK, UPDATE] the loss of that process is NaN in that update (from 0), and "code" is the exit code.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from latentcot.cli import main
from latentcot.core import Example
from latentcot.evaluation.answers import Evaluation
from latentcot.training import run as training_run
from latentcot.training import trainer


class Interrupted(Exception):
    """Stands for a power cut."""


@contextmanager
def watched(run: Path, stop_at: int | None = None, diverge: tuple[int, int] | None = None) -> Iterator[None]:
    """Inside, RUN.answers.RANK gets a line for each validation: what this process asked and what was answered.

    RUN.traffic.RANK gets one for each micro-batch: its most thoughts, and the bytes that FSDP2 gathered and reduced.
    Training ends with an exception before update `stop_at`. Adam's epsilon is larger than in a run of a user.
    """
    rank, moved = os.environ.get("RANK", "0"), {"gathered": 0, "reduced": 0}
    evaluate, step = trainer.evaluate, trainer.ThoughtTrainer.training_step
    arguments = training_run._arguments
    gather, reduce = torch.distributed.all_gather_single, torch.distributed.reduce_scatter_single

    def note(kind: str, entry: Any) -> None:
        with run.with_name(f"{run.name}.{kind}.{rank}").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def noted(checkpoint: Any, examples: list[Example], **options: Any) -> Evaluation:
        result = evaluate(checkpoint, examples, **options)
        note("answers", [(example.question, p.text) for example, p in zip(examples, result.predictions, strict=True)])
        return result

    def gathering(output: torch.Tensor, *more: Any, **options: Any) -> Any:
        moved["gathered"] += output.nbytes
        return gather(output, *more, **options)

    def reducing(output: torch.Tensor, input: torch.Tensor, **options: Any) -> Any:
        moved["reduced"] += input.nbytes
        return reduce(output, input, **options)

    def steady(*more: Any) -> TrainingArguments:
        # Adam would take a near-zero gradient to full size, and with it what is rounded differently.
        made = arguments(*more)
        made.adam_epsilon = 1e-4
        return made

    def stepped(self: Any, model: Any, inputs: Any, *more: Any) -> torch.Tensor:
        if self.state.global_step == stop_at:
            raise Interrupted
        moved.update(gathered=0, reduced=0)
        if diverge == (int(rank), self.state.global_step):
            self.losses.add(torch.tensor(float("nan")))
        loss = step(self, model, inputs, *more)
        note("traffic", {"thoughts": int(inputs["thoughts"].max()), **moved})
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "_arguments", steady)
        patch.setattr(trainer, "evaluate", noted)
        patch.setattr(trainer.ThoughtTrainer, "training_step", stepped)
        patch.setattr(torch.distributed, "all_gather_single", gathering)
        patch.setattr(torch.distributed, "reduce_scatter_single", reducing)
        yield


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in json.loads(Path(sys.argv[1]).read_text()):
        os.environ["FSDP_RESHARD_AFTER_FORWARD"] = str(each["reshard"]).lower()
        with watched(Path(each["run"]), each["stop_at"], tuple(each.get("diverge", ())) or None):
            code = main([*each["words"], "--run", each["run"]])
        assert code == each.get("code", 0 if each["stop_at"] is None else 1)
    # At the interpreter's end, threads of an interrupted run's group may abort a process that has done all its work.
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
