"""`python -m latentcot` is `latentcot`."""

import sys
from pathlib import Path

from latentcot.cli import main


def run() -> None:
    """The console script. As with `python -m`, a row in a module of the current folder is found by its dotted name."""
    if "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    code = main()
    _leave_group()
    sys.exit(code)


def _leave_group() -> None:
    """Leave the group of several processes, if there is one: its threads may abort an interpreter that is ending."""
    distributed = sys.modules.get("torch.distributed")  # Never imported for this: it takes seconds.
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    run()
