"""Coconut without the curriculum: the last stage's layout from the start (section 4.2)."""

from dataclasses import dataclass

from latentcot.core import Stage
from latentcot.curriculum import Curriculum
from latentcot.methods.base import only
from latentcot.methods.coconut import Coconut


@dataclass(frozen=True)
class WithoutCurriculum(Coconut):
    """All thoughts and no steps in every epoch."""

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return only(curriculum.plan()[-1], curriculum)
