"""The rows of the paper's Table 1, one file each, and the control that the paper lacks."""

from latentcot.methods.base import Method
from latentcot.methods.coconut import Coconut
from latentcot.methods.cot import CoT
from latentcot.methods.icot import ICoT
from latentcot.methods.no_cot import NoCoT
from latentcot.methods.pause_as_thought import PauseAsThought
from latentcot.methods.pause_multipass import PauseMultipass
from latentcot.methods.pause_token import PauseToken
from latentcot.methods.without_curriculum import WithoutCurriculum
from latentcot.methods.without_thought import WithoutThought

__all__ = [
    "CoT",
    "Coconut",
    "ICoT",
    "Method",
    "NoCoT",
    "PauseAsThought",
    "PauseMultipass",
    "PauseToken",
    "WithoutCurriculum",
    "WithoutThought",
]

ROWS = [name for name in __all__ if name != "Method"]
"""The class names of the package's own rows."""
