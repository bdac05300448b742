"""Pause as thought: the curriculum, with `<pause>` tokens where the thoughts would be (section 4.2)."""

from dataclasses import dataclass

from latentcot.core import Frame, Slot
from latentcot.methods.coconut import Coconut
from latentcot.tokens import Markers


@dataclass(frozen=True)
class PauseAsThought(Coconut):
    """The pauses are read together with the prompt, in one pass."""

    def frame(self, markers: Markers) -> Frame:
        return Frame(Slot.PAUSE, (markers.bot,), (markers.eot,), markers.pause)
