"""The verbs of `latentcot analyze`. `report.look` does what they say; it imports torch, and help must be instant."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from latentcot.cli.verbs import TRUST, Verbs
from latentcot.ranges import Count, CountOrZero, Seed
from latentcot.report.inputs import Inputs, Need


def run_tree(index: CountOrZero | None = None, **inputs: Any) -> None:
    """Draw the search tree that thoughts hold: the value of every concept after each thought.

    Args:
        index: Draw the graph of this question (the first is 0); without it, the set's mean values by distance.
    """
    _look("tree", "graph", {"index": index}, **inputs)


def run_race(index: CountOrZero | None = None, **inputs: Any) -> None:
    """Draw how the candidates for the next step fare, thought after thought.

    Args:
        index: Show the candidates of this question (the first is 0); without it, means over the set.
    """
    _look("race", "choices", {"index": index}, **inputs)


def run_parallelism(**inputs: Any) -> None:
    """Draw how many candidates the first two thoughts keep open at once."""
    _look("parallelism", "choices", {}, **inputs)


def run_height(definition: Literal["shortest", "longest"] = "shortest", **inputs: Any) -> None:
    """Draw the value of correct and incorrect nodes against their height.

    Args:
        definition: A node's height is its distance to the nearest leaf (shortest) or to the farthest (longest).
    """
    _look("height", "graph", {"definition": definition}, **inputs)


def run_interpolation(**inputs: Any) -> None:
    """Draw accuracy, and ProsQA's outcome classes, at each number of thoughts forced on one checkpoint."""
    _look("interpolation", None, {}, **inputs)


def run_case(index: CountOrZero | None = None, beside: Path | None = None, **inputs: Any) -> None:
    """Draw one question's answers after more and more thoughts.

    Args:
        index: The question (the first is 0); without it, the one that more thoughts mend most clearly.
        beside: Show the answer of this checkpoint too, of a CoT run for instance.
    """
    from latentcot.checkpoint import load

    other = None if beside is None else load(beside, trust_remote_code=inputs["trust_remote_code"])
    _look("case", None, {"index": index, "beside": other}, **inputs)


def run_decode(index: CountOrZero | None = None, top: Count = 5, **inputs: Any) -> None:
    """Draw the thoughts read as tokens: LM head, nearest embeddings, layer by layer.

    Args:
        index: Of this question alone (the first is 0); without it, means over the set.
        top: Tokens for each thought.
    """
    _look("decode", None, {"index": index, "top": top}, **inputs)


def run_faithfulness(seed: Seed = 0, **inputs: Any) -> None:
    """Draw accuracy with the thoughts shuffled, swapped between questions, or replaced.

    Args:
        seed: Of what is drawn at random.
    """
    _look("faithfulness", None, {"seed": seed}, **inputs)


def run_probe(seed: Seed = 0, **inputs: Any) -> None:
    """Draw what linear probes read off the thoughts of ProsQA questions, against control tasks.

    Args:
        seed: Of the split into training and test questions, and of the control tasks' labels.
    """
    _look("probe", "graph", {"seed": seed}, **inputs)


def run_health(**inputs: Any) -> None:
    """Draw size, likeness, entropy and gradients of the thoughts, and warn in words of what is wrong."""
    _look("health", None, {}, **inputs)


def run_sweep(runs: list[Path], out: Path) -> None:
    """Draw accuracy against tokens, and against thoughts per step, of finished runs.

    Args:
        runs: Folders of runs.
        out: Folder to write the figure (PNG and SVG) and its numbers (CSV and JSON) to; files that are there stay.
    """
    from latentcot.report.look import look_at_runs

    look_at_runs(runs, out)


def _look(name: str, need: Need | None, options: dict[str, Any], **inputs: Any) -> None:
    """Find out what the finding `name` says of the inputs, and write it."""
    from latentcot.report.look import look

    look(Inputs(**inputs), name, need, options)


_CHECKPOINT = {"checkpoint": {"type": Path, "help": "Folder of a checkpoint, or of a run (then its best checkpoint)."}}

VERBS: Verbs = {
    **{
        ("analyze", function.__name__.removeprefix("run_")): (function, {**_CHECKPOINT, **TRUST})
        for function in (
            run_tree, run_race, run_parallelism, run_height, run_interpolation, run_case, run_decode, run_faithfulness,
            run_probe, run_health,
        )
    },
    ("analyze", "sweep"): (run_sweep, {"runs": {"nargs": "+", "type": Path, "help": "Folders of finished runs."}}),
}  # fmt: skip
