"""No-CoT: question, answer."""

from dataclasses import dataclass

from latentcot.core import EVERY_STEP, Frame, Stage
from latentcot.curriculum import Curriculum
from latentcot.methods.base import Method, only
from latentcot.tokens import Markers


@dataclass(frozen=True)
class NoCoT(Method):
    """Trained on question and answer alone; answers directly."""

    @property
    def name(self) -> str:
        return "no_cot"

    def frame(self, markers: Markers) -> Frame:
        return Frame()

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return only(Stage(curriculum.epochs, EVERY_STEP), curriculum)
