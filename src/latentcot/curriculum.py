"""The curriculum: which stages there are, how long each lasts, and how often an example visits another one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from latentcot.core import EVERY_STEP, Stage, UserError
from latentcot.ranges import Count, CountOrZero, Positive, Range, Share, require_ranges

Few = Annotated[int, Range(0, 1000)]


@dataclass(frozen=True)
class Curriculum:
    """Stage 0 is ordinary chain-of-thought; stage k replaces the first k steps by thoughts (section 3 of the paper)."""

    stages: Few = 6
    """Stages after stage 0. The last of them fixes the number of thoughts at evaluation."""
    thoughts_per_step: Few = 1
    """Thoughts that replace one step (c in the paper)."""
    drop_rest: bool = False
    """Add one more stage that keeps the last number of thoughts and drops every remaining step (GSM8k)."""
    epochs_first: CountOrZero = 5
    """Epochs in stage 0. With 0 the run starts in stage 1, as from a CoT checkpoint."""
    epochs_per_stage: Count = 5
    """Epochs in each later stage."""
    epochs: Count = 50
    """Epochs in all: what the stages leave over is spent in the last one."""
    removal_smoothing: Positive | None = None
    """Remove o tokens more than the stage's steps, o drawn for every example with probability proportional to
    exp(-removal_smoothing * o), so that text goes less abruptly (iCoT's removal smoothing); left out: none more."""
    number: Literal["constant", "per_example"] = "constant"
    """constant: a stage's number of thoughts for every example; per_example: at most c for each step it has."""
    mix: Share = 0.0
    """Probability that an example is laid out for a uniformly drawn stage instead of the current one."""
    mix_from: Literal["reached", "all"] = "reached"
    """Stages that mixing draws from: those reached so far, or all of them."""
    advance_at: Share | None = None
    """End a stage, the last one included, as soon as accuracy on validation reaches this share; its epochs are then
    the most that it may take. Left out, as published: every stage takes all its epochs."""
    reset_optimizer: Literal["stage", "epoch", "never"] | bool = "stage"
    """When to reset the optimizer's state: whenever the stage changes (stage), at the start of every epoch, as the
    official code does (epoch), or never. In older recipes true is stage, and false is never."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reset_optimizer", name_reset(self.reset_optimizer))
        require_ranges(Curriculum, vars(self), "curriculum.")

    def resets(self, epoch: int, stage_changes: bool) -> bool:
        """Return whether the optimizer's state is reset at the start of epoch `epoch` (from 0)."""
        return epoch > 0 and (self.reset_optimizer == "epoch" or (self.reset_optimizer == "stage" and stage_changes))

    def plan(self) -> list[Stage]:
        """Every stage of the published curriculum in order, each with its own epochs; see `fill`."""
        plan = [self._stage(self.epochs_first, 0, 0)]
        plan += [self._stage(self.epochs_per_stage, k, k * self.thoughts_per_step) for k in range(1, self.stages + 1)]
        if self.drop_rest:
            plan.append(self._stage(self.epochs_per_stage, EVERY_STEP, plan[-1].thoughts))
        return plan

    def _stage(self, epochs: int, steps_removed: int, thoughts: int) -> Stage:
        per_step = self.thoughts_per_step if self.number == "per_example" else None
        return Stage(epochs, steps_removed, 0, thoughts, per_step, self.removal_smoothing)


def name_reset(value: Any) -> Any:
    """Return `reset_optimizer` as it is spelled today: earlier versions had true for stage and false for never."""
    return {True: "stage", False: "never"}[value] if isinstance(value, bool) else value


def fill(plan: Sequence[Stage], curriculum: Curriculum) -> list[Stage]:
    """The plan with its last stage lengthened so that it lasts all the curriculum's epochs.

    UserError if the stages alone last longer; unless `advance_at` is set, since they then may end early.
    """
    left = curriculum.epochs - sum(stage.epochs for stage in plan)
    if left < 0 and curriculum.advance_at is None:
        raise UserError(
            f"curriculum.epochs is {curriculum.epochs}, but the stages need {curriculum.epochs - left}: raise "
            "curriculum.epochs, or lower curriculum.epochs_first, epochs_per_stage or stages "
            "(iCoT: raise method.tokens_per_epoch)"
        )
    return [*plan[:-1], replace(plan[-1], epochs=plan[-1].epochs + max(left, 0))]


def stage_at(
    plan: Sequence[Stage], epoch: int, accuracies: Mapping[int, float] | None = None, advance_at: Share | None = None
) -> int:
    """The index of the stage that epoch `epoch` (from 0) belongs to; the last one for any later epoch.

    With `advance_at`, `accuracies` (on validation, by epoch) may have ended stages before their epochs were over.
    """
    stage, spent = 0, 0
    for past in range(epoch + 1):
        while stage < len(plan) - 1 and spent >= plan[stage].epochs:
            stage, spent = stage + 1, 0
        if past < epoch:
            reached = advance_at is not None and (accuracies or {}).get(past, 0.0) >= advance_at
            spent = plan[stage].epochs if reached else spent + 1
    return stage


def draw_stage(plan: Sequence[Stage], current: int, curriculum: Curriculum, rng: random.Random) -> int:
    """The stage an example is laid out for: the current one or, with probability `mix`, any of those allowed."""
    if curriculum.mix and rng.random() < curriculum.mix:
        return rng.randrange(len(plan) if curriculum.mix_from == "all" else current + 1)
    return current
