"""CoT: question, every step, answer (Wei et al. 2022, arXiv 2201.11903)."""

from dataclasses import dataclass

from latentcot.core import Frame, Stage
from latentcot.curriculum import Curriculum
from latentcot.methods.base import Method, only
from latentcot.tokens import Markers


@dataclass(frozen=True)
class CoT(Method):
    """Trained on question, all steps and answer; writes the steps, then the answer."""

    @property
    def name(self) -> str:
        return "cot"

    def frame(self, markers: Markers) -> Frame:
        return Frame()

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        return only(Stage(curriculum.epochs), curriculum)
