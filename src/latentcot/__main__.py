"""`python -m latentcot` is `latentcot`."""

import sys

from latentcot.cli import main


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
