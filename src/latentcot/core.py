"""The vocabulary of latentcot: read this file and the rest reads itself.

An `Example` is text. A `Sample` is the same in tokens. A row of the paper's Table 1 (a `Method`) lays a
sample out at a `Stage` of the curriculum as a `Layout`; the row's `Frame` says what stands between the
question and the answer. Layouts are stacked into a `Batch`, the thought loop turns a batch into a `Trace`,
and an answered question is a `Prediction`.

Nothing here imports torch, so that the command line starts at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor
    from transformers import Cache

Ids = tuple[int, ...]
"""Token ids."""

EVERY_STEP = 1_000_000
"""As a stage's `steps_removed`: no step is left, however long the chain."""

NO_LABEL = -100
"""The label of a column that carries no loss (PyTorch's own default `ignore_index`)."""


class UserError(ValueError):
    """Something the user can mend. Its message is one line that names the file, the record or field, and the mend."""


@dataclass(frozen=True)
class Example:
    """One question with its written chain of thought, as text. `extra` keeps every other key of the record."""

    question: str
    steps: tuple[str, ...]
    answer: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """An example in tokens. The question and each step end with a line break, the answer with eos."""

    question: Ids
    steps: tuple[Ids, ...]
    answer: Ids
    held: tuple[Ids, ...] = ()
    """Tokens that a thought in the place of each step should hold, where these are not the step's own."""


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum (section 3 of the paper).

    `steps_removed` steps and then `tokens_removed` tokens are taken from the front of the chain, and `thoughts`
    thoughts take their place. With `thoughts_per_step` set, an example gets at most that many thoughts for each
    step that it has; with None every example gets the same number. With `smoothing` set, o tokens more are removed
    with probability proportional to exp(-smoothing * o) (removal smoothing: Deng et al. 2024, section 3).
    """

    epochs: int
    steps_removed: int = 0
    tokens_removed: int = 0
    thoughts: int = 0
    thoughts_per_step: int | None = None
    smoothing: float | None = None


class Slot(StrEnum):
    """What is fed at the position of a thought."""

    NONE = "none"
    """The row has no such positions."""
    STATE = "state"
    """The last hidden state of the position before: a continuous thought."""
    PAUSE = "pause"
    """A learned token, read together with the prompt in one pass."""
    PAUSE_MULTIPASS = "pause_multipass"
    """The same learned token, read in the sequential passes that thoughts need."""


@dataclass(frozen=True)
class Frame:
    """What stands between the question and the target: `open`, then the slots, then `close`.

    It is all that answering needs to know of a row, and is stored with a checkpoint.
    """

    slot: Slot = Slot.NONE
    open: Ids = ()
    close: Ids = ()
    pause: int | None = None

    def layout(self, question: Ids, thoughts: int, target: Ids = ()) -> Layout:
        """Lay a question out with `thoughts` slots; ValueError if it is negative or the row has no slots."""
        if thoughts < 0:
            raise UserError(f"thoughts is {thoughts}: give 0 or more")
        if self.slot is Slot.NONE:
            if thoughts:
                raise UserError(f"thoughts is {thoughts}, but this row has no thoughts: leave it out or give 0")
            return Layout(question, 0, (), target)
        if self.slot is Slot.PAUSE:
            assert self.pause is not None
            return Layout(question + self.open + (self.pause,) * thoughts, 0, self.close, target)
        token = self.pause if self.slot is Slot.PAUSE_MULTIPASS else None
        return Layout(question + self.open, thoughts, self.close, target, token)

    def counted(self, thoughts: int) -> int:
        """Thoughts that count as tokens: the paper counts continuous thoughts and neither pauses nor markers."""
        return thoughts if self.slot is Slot.STATE else 0


@dataclass(frozen=True)
class Layout:
    """A sample as the model meets it: `prompt`, then `thoughts` latent positions, then `cue`, then `target`.

    Only the target carries loss, and its first token is predicted at the end of the cue (at the end of the
    prompt where there is neither cue nor thought). `thought_token` is fed at the latent positions; with None
    the last hidden state is. `taught` says which tokens each thought should hold, if that is taught, the first first.
    """

    prompt: Ids
    thoughts: int
    cue: Ids
    target: Ids
    thought_token: int | None = None
    taught: tuple[Ids, ...] = ()

    def __post_init__(self) -> None:
        if self.thoughts and not self.cue:
            raise ValueError("a layout with thoughts needs a cue: the first target token is predicted there")

    def __len__(self) -> int:
        """Positions that the model needs."""
        return len(self.prompt) + self.thoughts + len(self.cue) + len(self.target)


@dataclass(frozen=True)
class Batch:
    """Layouts as tensors. B rows, P prompt columns (padded on the left), R rest columns (padded on the right).

    `rest` is the cue and the target without its last token; `labels[:, j]` is what must be predicted at rest
    column j, or `NO_LABEL`. A layout without a cue lends its last prompt token to the rest. `taught[:, j]` holds the
    tokens that a row's thought j should hold, filled up with `NO_LABEL`; None where no thought is taught.
    """

    prompt: Int[Tensor, "B P"]
    prompt_mask: Bool[Tensor, "B P"]
    thoughts: Int[Tensor, " B"]
    rest: Int[Tensor, "B R"]
    rest_mask: Bool[Tensor, "B R"]
    labels: Int[Tensor, "B R"]
    thought_token: int | None = None
    taught: Int[Tensor, "B T A"] | None = None

    def to(self, device: Any) -> Batch:
        """The same batch on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def take(self, rows: Any) -> Batch:
        """A copy of the rows with the given indices, in their order."""
        return replace(self, **{name: tensor[rows] for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "thought_token"}
        return {name: tensor for name, tensor in values.items() if tensor is not None}


@dataclass(frozen=True)
class Latent:
    """Where a batch stands after its prompt and its thoughts: N thought columns, hidden size H.

    `states[:, 0]` is the last hidden state at the end of the prompt and `states[:, i]` the one at thought column
    i, so thought i was fed `states[:, i - 1]`. Rows with fewer than N thoughts hold their prompt's state in the
    first columns, which `mask` marks as idle. `said` is what the LM head makes of the states, logits over the
    vocabulary V, for a batch whose thoughts are taught, and has no columns for others.
    """

    cache: Cache
    mask: Bool[Tensor, "B P+N"]
    states: Float[Tensor, "B N+1 H"]
    said: Float[Tensor, "B S V"]


@dataclass(frozen=True)
class Trace:
    """What the thought loop returns for a batch: logits over the vocabulary V at the rest columns, and the states, with
    what the LM head makes of them (see `Latent`)."""

    logits: Float[Tensor, "B R V"]
    states: Float[Tensor, "B N+1 H"]
    said: Float[Tensor, "B S V"]


@dataclass(frozen=True)
class Prediction:
    """An answered question. `tokens` counts written tokens and continuous thoughts, as the paper does."""

    text: str
    tokens: int
    thoughts: int
