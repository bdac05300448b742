"""What every row of the paper's Table 1 shares.

A row is one file with one dataclass: its `frame` (what stands between question and answer), its `plan` (which
stages it walks) and, where steps do not simply fall away, its `target`. Fields are the row's own options. A row
of yours, in a module of yours, works by its dotted name (`--method my_module.MyRow`).
"""

from __future__ import annotations

import math
import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from latentcot.core import Frame, Ids, Layout, Sample, Stage
from latentcot.curriculum import Curriculum
from latentcot.tokens import Markers


@dataclass(frozen=True)
class Method(ABC):
    """A row of Table 1."""

    @property
    def name(self) -> str:
        """The row's name in results and folders: the class's name in snake case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def frame(self, markers: Markers) -> Frame:
        """What stands between the question and the target."""

    @abstractmethod
    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        """The stages to walk. `longest` is the longest chain of the training data in tokens."""

    def target(self, sample: Sample, stage: Stage, rng: random.Random) -> Ids:
        """The tokens to learn: the steps that the stage leaves, then the answer."""
        steps = [token for step in sample.steps[stage.steps_removed :] for token in step]
        return (*steps[stage.tokens_removed + _offset(stage.smoothing, rng) :], *sample.answer)

    def layout(self, sample: Sample, stage: Stage, markers: Markers, rng: random.Random) -> Layout:
        """Lay a sample out for training at a stage. `rng` is the sample's own, the same in every run of a seed."""
        thoughts = stage.thoughts
        if stage.thoughts_per_step is not None:
            thoughts = min(thoughts, stage.thoughts_per_step * len(sample.steps))
        return self.frame(markers).layout(sample.question, thoughts, self.target(sample, stage, rng))


def _offset(smoothing: float | None, rng: random.Random) -> int:
    """A geometric draw: P(o) is proportional to exp(-smoothing * o)."""
    return int(-math.log(1.0 - rng.random()) / smoothing) if smoothing else 0


def only(stage: Stage, curriculum: Curriculum) -> list[Stage]:
    """A plan of a single stage that lasts for all the curriculum's epochs."""
    return [replace(stage, epochs=curriculum.epochs)]
