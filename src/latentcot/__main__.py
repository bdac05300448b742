"""`python -m latentcot` is `latentcot`."""

import sys
from pathlib import Path

from latentcot.cli import main


def run() -> None:
    """The console script. As with `python -m`, a row in a module of the current folder is found by its dotted name."""
    if "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    sys.exit(main())


if __name__ == "__main__":
    run()
