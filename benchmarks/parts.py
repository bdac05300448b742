"""What the scripts share: measurements that are made once, and a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from latentcot.bench.run import surroundings
from latentcot.config import flat
from latentcot.core import UserError
from latentcot.files import write_whole


class Parts:
    """Named measurements in a JSON file. What it holds is not measured again, so an interrupted script goes on."""

    def __init__(self, file: Path, setting: Mapping[str, Any]) -> None:
        """UserError if the file holds measurements of another setting, code or machine."""
        about = {"setting": setting, **surroundings()}
        self.file, self.content = file, json.loads(json.dumps({**about, "parts": {}}, default=str))
        if file.is_file():
            here, self.content = self.content, json.loads(file.read_text(encoding="utf-8"))
            for name, value in flat({name: here[name] for name in about}).items():
                there = flat(self.content).get(name)
                if there != value:
                    raise UserError(f"{file}: {name} is {there} there and {value} here: give another --out")

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """The measurement of this name, made now unless the file has it."""
        parts = self.content["parts"]
        if name not in parts:
            print(name, file=sys.stderr, flush=True)
            parts[name] = json.loads(json.dumps(measure()))
            write_whole(self.file, (json.dumps(self.content, indent=2) + "\n").encode())
        return parts[name]


def command(function: Callable[..., None]) -> None:
    """Run a script: its parameters are flags, and bad input is one line."""
    try:
        auto_cli(function, as_positional=False)
    except UserError as error:
        sys.exit(f"error: {error}")
