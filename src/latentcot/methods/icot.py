"""iCoT: the chain is removed token by token over training (Deng et al. 2024, arXiv 2405.14838)."""

from dataclasses import dataclass

from latentcot.core import EVERY_STEP, Frame, Stage, UserError
from latentcot.curriculum import Curriculum, fill
from latentcot.methods.base import Method
from latentcot.tokens import Markers


@dataclass(frozen=True)
class ICoT(Method):
    """Each epoch removes some more tokens from the front of the chain, and nothing takes their place."""

    tokens_per_epoch: int = 8
    """Tokens removed in each epoch more than in the one before (Delta in Deng et al., section 3)."""
    smoothing: float = 4.0
    """Removal smoothing: o tokens more are removed with probability proportional to exp(-smoothing * o)."""

    def __post_init__(self) -> None:
        for field, least in {"tokens_per_epoch": 1, "smoothing": 0}.items():
            if getattr(self, field) < least:
                raise UserError(f"method.{field} is {getattr(self, field)}: give {least} or more")

    @property
    def name(self) -> str:
        return "icot"

    def frame(self, markers: Markers) -> Frame:
        return Frame()

    def plan(self, curriculum: Curriculum, longest: int) -> list[Stage]:
        """One epoch of CoT, then one for each `tokens_per_epoch` tokens, then the direct answer to the end."""
        stages = [
            Stage(1, tokens_removed=removed, smoothing=self.smoothing)
            for removed in range(0, longest, self.tokens_per_epoch)
        ]
        return fill([*stages, Stage(1, EVERY_STEP)], curriculum)
