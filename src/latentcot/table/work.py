"""One cell: train its run, evaluate the best checkpoint, and write down what its figures come from.

RUN/            the run, as `latentcot train` leaves it, less what only an interrupted run needs
RUN/test.json   its figures on the test file, with seed, hashes of all data, code and machine
RUN.out         what the run printed, where it had a process of its own
RUN/.claim-N    while a process works on it

`python -m latentcot.table.work` runs the cell on its standard input.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import Any

from latentcot import provenance
from latentcot.config import to_mapping
from latentcot.core import UserError
from latentcot.files import write_whole
from latentcot.runs.claims import claim, is_claimed
from latentcot.runs.folder import RunFolder
from latentcot.runs.records import find_damage, read_result, read_test
from latentcot.table.cells import Cell, digest, from_text, hashes

ELSEWHERE = 75
"""Exit code where another process works on the cell (EX_TEMPFAIL of sysexits)."""


def run_cell(cell: Cell) -> bool:
    """Train and evaluate a cell, or go on where it was left; False, with nothing done, if another process does or did.

    UserError if the run's configuration or data is faulty.
    """
    from latentcot.training.run import train

    with claim(cell.run) as mine:
        if mine is None or is_done(cell):
            return False
        _require_readable(cell)
        train(cell.config, cell.run, mine)
        shutil.rmtree(RunFolder(cell.run).resume, ignore_errors=True)
        write_whole(cell.run / "test.json", (json.dumps(_evaluate(cell), indent=2) + "\n").encode())
    return True


def _require_readable(cell: Cell) -> None:
    """UserError, before hours of training, if the model will not be able to read the test questions."""
    from latentcot.checkpoint import start_tokenizer
    from latentcot.data import records
    from latentcot.tokens import encode_questions, texts_of
    from latentcot.training.data import read_data

    def words() -> Iterator[str]:
        """Read only for a tokenizer that is made of them."""
        yield from texts_of(read_data(cell.config).train)

    tokenizer = start_tokenizer(cell.config.model, words())
    try:
        encode_questions([example.question for example in records.read(cell.test)], tokenizer)
    except UserError as error:
        raise UserError(f"{cell.test}: {error}") from error


def is_done(cell: Cell) -> bool:
    """Whether the cell is trained, and evaluated on the test file as it is now; UserError if its files are damaged."""
    if not all((cell.run / name).is_file() for name in ("test.json", "result.json")):
        return False
    read_result(cell.run)
    return bool(read_test(cell.run)["sha256"]["test"] == digest(cell.test))


def require_same(cell: Cell) -> None:
    """UserError if the cell's folder holds a run of another configuration, or of data that has changed since."""
    folder = RunFolder(cell.run)
    # Another process may be writing it; and a damaged cell fails by itself, so that others can go on.
    if not folder.config.is_file() or is_claimed(cell.run) or find_damage(cell.run):
        return
    new = {**to_mapping(cell.config), "sha256": {name: hashes(cell)[name] for name in ("train", "valid")}}
    folder.require_same(new)


def _evaluate(cell: Cell) -> dict[str, Any]:
    """The cell's figures on its test file, answered in the same way for every row, with the recipe's thoughts."""
    from latentcot.checkpoint import load
    from latentcot.data import records
    from latentcot.evaluation.answers import evaluate
    from latentcot.evaluation.rules import same_text

    checkpoint = load(cell.run, trust_remote_code=cell.config.model.trust_remote_code)
    batch_size = cell.config.train.eval_batch_size
    evaluation = evaluate(checkpoint, records.read(cell.test), batch_size=batch_size)
    pairs = zip(evaluation.predictions, evaluation.examples, strict=True)
    return {
        "dataset": cell.dataset,
        "row": cell.row,
        "seed": cell.seed,
        "right": sum(same_text(prediction.text, example.answer) for prediction, example in pairs),
        **evaluation.metrics(),
        "batch_size": batch_size,
        "test": str(cell.test),
        "sha256": hashes(cell),
        "start": cell.start,
        "code": provenance.code(),
        "machine": provenance.machine(),
        "device": str(checkpoint.model.device),
    }


def main() -> int:
    """Run the cell of standard input; the exit code is 0, `ELSEWHERE`, or 2 with one line that says why."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    # An end by the parent gives the claim back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cell = from_text(sys.stdin.read())
    try:
        return 0 if run_cell(cell) else ELSEWHERE
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # Of the whole group, the parent too, which says that the same command goes on.
        return 130


if __name__ == "__main__":
    sys.exit(main())
