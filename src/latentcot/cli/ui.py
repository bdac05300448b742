"""The verb `latentcot ui`. It imports torch and Gradio when it runs, since help must be instant."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Annotated

from latentcot.cli.verbs import TRUST, Verbs
from latentcot.core import UserError
from latentcot.data.columns import AS_NAMED, Columns
from latentcot.ranges import Range


def run_ui(
    checkpoint: Path,
    compare: Path | None = None,
    data: str | list[str] | None = None,
    port: Annotated[int, Range(1, 65535)] = 7860,
    host: str = "127.0.0.1",
    columns: Columns = AS_NAMED,
    trust_remote_code: bool = False,
) -> None:
    """Ask questions in the browser: slide the thoughts, see answer, race and search tree.

    Args:
        checkpoint: Folder of a checkpoint, or of a run (then its best checkpoint).
        compare: Show the answers of this checkpoint too, of a CoT run for instance.
        data: Source of the random questions (default: fresh ones of ProsQA or chains, whichever the model knows).
        port: Port of the page.
        host: Address to listen on; 0.0.0.0 lets every machine of the network in.
        columns: Where a source of your own has its question, steps and answer.
        trust_remote_code: Run code that comes with the models.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs the package gradio: pip install 'latentcot[ui]'")
    _require_free(host, port)
    from latentcot.checkpoint import load
    from latentcot.ui.page import serve
    from latentcot.ui.questions import fresh, of_data

    folders = [checkpoint] if compare is None else [checkpoint, compare]
    checkpoints = {str(folder): load(folder, trust_remote_code=trust_remote_code) for folder in folders}
    loaded = checkpoints.values()
    serve(checkpoints, fresh(loaded) if data is None else of_data(data, columns, loaded), host, port)


def _require_free(host: str, port: int) -> None:
    """UserError unless the page can listen there."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As the page's own server does.
            probe.bind((host, port))
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}): give another --port or --host") from error


VERBS: Verbs = {
    ("ui",): (
        run_ui,
        {"checkpoint": {"type": Path, "help": "Folder of a checkpoint, or of a run (then its best)."}, **TRUST},
    ),
}
