"""Train one run in pieces, each of which ends by SIGKILL at a random operation on a file in the run's folder.

    killed.py RECIPE RUN KILLS SEED

Every piece is a process of its own, forked before anything was trained. Prints how each ended.
"""

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from latentcot.recipe import load_config
from latentcot.training.run import train

OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "shutil.rmtree")


def kill_at(operation: int, run: Path) -> None:
    """Have this process killed at its `operation`-th operation on a file in `run`."""
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in OPERATIONS and str(arguments[0]).startswith(str(run)):
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


if __name__ == "__main__":
    recipe, run, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    moments = random.Random(seed)
    # The first operations of all, then any: a whole run has some three hundred.
    for operation in [*range(2, 14, 3), *(moments.randrange(14, 150) for _ in range(kills)), None]:
        child = os.fork()
        if child == 0:
            if operation is not None:
                kill_at(operation, run)
            train(load_config(recipe), run)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("operation", operation, "exit", os.waitstatus_to_exitcode(status), flush=True)
