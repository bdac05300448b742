"""Accuracy, tokens and time of a checkpoint on a set of examples, by the paper's rules."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, Prediction
from latentcot.data.graph import has_graph
from latentcot.evaluation.paths import outcomes
from latentcot.evaluation.rules import number, same_number, same_text
from latentcot.generate import answer
from latentcot.tokens import final_answer

MAX_RESULT_BYTES = 10**6
"""No result of an evaluation is larger."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions on a set of examples, and the wall time that they took."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    seconds: float
    precision: str = "fp32"
    """What the questions were answered in: fp32 or bf16."""

    def metrics(self) -> dict[str, Any]:
        """n, accuracy (share, by the string rule), tokens and thoughts (means), seconds_per_example, precision.

        Where gold answers are numbers, accuracy_number over these, n_number of them; where there are graphs, the
        outcome classes.
        """
        n = len(self.examples)
        pairs = list(zip(self.predictions, self.examples, strict=True))
        result: dict[str, Any] = {
            "n": n,
            "accuracy": sum(same_text(prediction.text, example.answer) for prediction, example in pairs) / n,
            "tokens": sum(prediction.tokens for prediction in self.predictions) / n,
            "thoughts": sum(prediction.thoughts for prediction in self.predictions) / n,
            "seconds_per_example": self.seconds / n,
            "precision": self.precision,
        }
        numbers = [pair for pair in pairs if number(final_answer(pair[1].answer)) is not None]
        if numbers:
            correct = sum(same_number(prediction.text, example.answer) for prediction, example in numbers)
            result |= {"accuracy_number": correct / len(numbers), "n_number": len(numbers)}
        graphs = [(prediction.text, example) for prediction, example in pairs if has_graph(example)]
        if graphs:
            result["outcomes"] = outcomes(graphs)
        return result

    def records(self) -> list[dict[str, Any]]:
        """One record an example: question, gold answer, the text written, whether it is right, tokens."""
        return [
            {
                "question": example.question,
                "gold": example.answer,
                "text": prediction.text,
                "correct": same_text(prediction.text, example.answer),
                "tokens": prediction.tokens,
            }
            for prediction, example in zip(self.predictions, self.examples, strict=True)
        ]


def holds_result(path: Path, digest: str) -> bool:
    """Return whether a file holds the result of an evaluation on the examples with this sha256."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < MAX_RESULT_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("sha256") == digest


def holds_predictions(path: Path, examples: Sequence[Example]) -> bool:
    """Return whether a JSON-lines file holds predictions (see `Evaluation.records`) for these very examples."""
    keys = ("question", "gold", "text", "correct", "tokens")
    try:
        with path.open(encoding="utf-8") as file:
            for line, example in zip(file, examples, strict=True):
                record = json.loads(line)
                if not isinstance(record, dict) or any(key not in record for key in keys):
                    return False
                if (record["question"], record["gold"]) != (example.question, example.answer):
                    return False
    except (OSError, ValueError, RecursionError):  # Another number of lines is a ValueError, as no JSON is.
        return False
    return True


def evaluate(
    checkpoint: Checkpoint, examples: Sequence[Example], *, thoughts: int | None = None, batch_size: int = 64
) -> Evaluation:
    """Answer every example greedily, in the checkpoint's precision.

    Only an example's question reaches the model: not its steps, nor how many they are.
    """
    began = time.perf_counter()
    questions = [example.question for example in examples]
    device = checkpoint.model.device.type
    with torch.autocast(device, torch.bfloat16, enabled=checkpoint.precision == "bf16"):
        predictions = answer(checkpoint, questions, thoughts=thoughts, batch_size=batch_size)
    return Evaluation(examples, predictions, time.perf_counter() - began, checkpoint.precision)
