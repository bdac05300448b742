"""Pause, multi-pass: `<pause>` tokens fed through the sequential passes that thoughts need.

A control beyond the paper. It separates extra positions from the recycled hidden state at the thoughts' own cost
in time. For a causal model it computes what pause-as-thought computes (a token does not see later ones), so any
difference between the two rows' results is noise between runs; the tests prove the equality.
"""

from dataclasses import dataclass

from latentcot.core import Frame, Slot
from latentcot.methods.coconut import Coconut
from latentcot.tokens import Markers


@dataclass(frozen=True)
class PauseMultipass(Coconut):
    """The curriculum, with a `<pause>` token fed in each thought's pass instead of the hidden state."""

    def frame(self, markers: Markers) -> Frame:
        return Frame(Slot.PAUSE_MULTIPASS, (markers.bot,), (markers.eot,), markers.pause)
