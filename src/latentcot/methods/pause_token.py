"""Pause token: learned filler tokens before the answer, no curriculum (Goyal et al. 2023, arXiv 2310.02226)."""

from dataclasses import dataclass, replace

from latentcot.core import EVERY_STEP, Frame, Slot, Stage
from latentcot.curriculum import Curriculum
from latentcot.methods.base import Method, only
from latentcot.tokens import Markers


@dataclass(frozen=True)
class PauseToken(Method):
    """Question, as many `<pause>` tokens as Coconut has thoughts in its last stage, answer."""

    def frame(self, markers: Markers) -> Frame:
        return Frame(Slot.PAUSE, pause=markers.pause)

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return only(replace(curriculum.plan()[-1], steps_removed=EVERY_STEP), curriculum)
