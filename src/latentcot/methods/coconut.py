"""Coconut, the method itself (Hao et al. 2024, arXiv 2412.06769, section 3)."""

from dataclasses import dataclass

from latentcot.core import Frame, Slot, Stage
from latentcot.curriculum import Curriculum, fill
from latentcot.methods.base import Method
from latentcot.tokens import Markers


@dataclass(frozen=True)
class Coconut(Method):
    """`question <bot> thoughts <eot> remaining steps, answer`, stage by stage more thoughts and fewer steps."""

    def frame(self, markers: Markers) -> Frame:
        return Frame(Slot.STATE, (markers.bot,), (markers.eot,))

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return fill(curriculum.plan(), curriculum)
