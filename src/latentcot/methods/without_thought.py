"""Coconut without thoughts: the curriculum removes the steps and puts nothing in their place (section 4.2)."""

from dataclasses import dataclass, replace

from latentcot.core import Frame, Stage
from latentcot.curriculum import Curriculum, fill
from latentcot.methods.base import Method
from latentcot.tokens import Markers


@dataclass(frozen=True)
class WithoutThought(Method):
    """Neither thoughts nor markers; steps fall away as in the curriculum."""

    def frame(self, markers: Markers) -> Frame:
        return Frame()

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return fill([replace(stage, thoughts=0) for stage in curriculum.plan()], curriculum)
