"""Whether answers hang on what the thoughts hold: the same questions with other states in the thoughts' place.

The states are those of an untouched pass, rearranged or replaced, and fed whole, so a thought does not adapt to the
change before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentcot.checkpoint import Checkpoint
from latentcot.core import Example, UserError
from latentcot.evaluation.rules import same_text
from latentcot.evaluation.statistics import wilson
from latentcot.generate import answer, thoughts_of


@dataclass(frozen=True)
class Replaced:
    """How a set is answered under an intervention. `low` and `high` are the accuracy's 95% interval."""

    intervention: str
    n: int
    right: int
    accuracy: float
    low: float
    high: float
    unchanged: float
    """Share of the final answers that are the same as without intervention."""


def shuffled(thoughts: Tensor, generator: Generator) -> Tensor:
    """The thoughts [n, K, H] of each question in an order drawn for it; never the order they had, unless K is 1."""
    count = thoughts.shape[1]
    orders = torch.rand(thoughts.shape[:2], generator=generator).argsort(dim=1)
    same = (orders == torch.arange(count)).all(dim=1)
    orders[same] = orders[same].roll(1, dims=1)
    return thoughts.gather(1, orders[:, :, None].expand_as(thoughts))


def swapped(thoughts: Tensor, generator: Generator) -> Tensor:
    """Each question's thoughts from another question: the next one in a drawn round."""
    order = torch.randperm(len(thoughts), generator=generator)
    return thoughts[order.roll(1)][order.argsort()]


def noise(thoughts: Tensor, generator: Generator) -> Tensor:
    """Each thought replaced by a random direction of its norm."""
    drawn = torch.randn(thoughts.shape, generator=generator)
    scaled: Tensor = drawn * (thoughts.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True))
    return scaled


def mean(thoughts: Tensor, generator: Generator) -> Tensor:
    """Each thought replaced by its mean over the questions."""
    return thoughts.mean(dim=0, keepdim=True).expand_as(thoughts)


def frozen(thoughts: Tensor, generator: Generator) -> Tensor:
    """Every thought replaced by the question's first."""
    return thoughts[:, :1].expand_as(thoughts)


INTERVENTIONS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {
    "shuffled": shuffled,
    "another question's": swapped,
    "noise of the same norm": noise,
    "mean over the set": mean,
    "frozen at the first": frozen,
}


def faithfulness(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    *,
    thoughts: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> list[Replaced]:
    """Accuracy without and under each intervention. UserError for a single example, or without continuous thoughts."""
    if len(examples) < 2:
        raise UserError("one question has no other to take thoughts from: give 2 or more")
    questions = [example.question for example in examples]
    own = thoughts_of(checkpoint, questions, thoughts=thoughts, batch_size=batch_size)
    fed = {"none": own}
    for name, intervene in INTERVENTIONS.items():
        fed[name] = intervene(own, torch.Generator().manual_seed(seed))
    untouched: list[str] = []
    found = []
    for name, states in fed.items():
        predictions = answer(checkpoint, questions, thoughts=own.shape[1], batch_size=batch_size, fed=states)
        texts = [prediction.text for prediction in predictions]
        untouched = untouched or texts  # "none" comes first.
        right = sum(same_text(text, example.answer) for text, example in zip(texts, examples, strict=True))
        # Answers, not texts: what is written before an answer may change and the answer stay.
        same = sum(same_text(text, before) for text, before in zip(texts, untouched, strict=True))
        n = len(examples)
        found.append(Replaced(name, n, right, right / n, *wilson(right, n), same / n))
    return found
