"""iCoT: the chain is removed token by token over training (Deng et al. 2024, arXiv 2405.14838)."""

from dataclasses import dataclass

from latentcot.core import EVERY_STEP, Frame, Stage
from latentcot.curriculum import Curriculum, fill
from latentcot.methods.base import Method
from latentcot.ranges import Count, PositiveOrZero, require_ranges
from latentcot.tokens import Markers


@dataclass(frozen=True)
class ICoT(Method):
    """Each epoch removes some more tokens from the front of the chain, and nothing takes their place."""

    tokens_per_epoch: Count = 8
    """Tokens removed in each epoch more than in the one before (Delta in Deng et al., section 3)."""
    smoothing: PositiveOrZero = 4.0
    """Removal smoothing: o tokens more are removed with probability proportional to exp(-smoothing * o)."""

    def __post_init__(self) -> None:
        require_ranges(ICoT, vars(self), "method.")

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
