"""Stages over epochs, and mixing."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.core import Stage, UserError
from latentcot.curriculum import Curriculum, draw_stage, fill, stage_at

PLAN = [Stage(2), Stage(1), Stage(3)]


@given(first=st.integers(0, 5), each=st.integers(1, 5), stages=st.integers(0, 6), extra=st.integers(0, 9))
def test_every_epoch_has_its_stage(first: int, each: int, stages: int, extra: int) -> None:
    epochs = max(first + each * stages + extra, 1)
    curriculum = Curriculum(stages=stages, epochs_first=first, epochs_per_stage=each, epochs=epochs)
    plan = fill(curriculum.plan(), curriculum)
    counts = Counter(stage_at(plan, epoch) for epoch in range(epochs))
    assert [counts[index] for index in range(len(plan))] == [stage.epochs for stage in plan]
    assert sum(counts.values()) == epochs


def test_too_few_epochs_are_refused() -> None:
    curriculum = Curriculum(stages=2, epochs_first=2, epochs_per_stage=2, epochs=5)
    with pytest.raises(UserError, match="the stages need 6"):
        fill(curriculum.plan(), curriculum)


def test_a_learned_stage_ends_early() -> None:
    assert [stage_at(PLAN, epoch) for epoch in range(7)] == [0, 0, 1, 2, 2, 2, 2]
    learned = {0: 0.95, 1: 0.2}
    assert [stage_at(PLAN, epoch, learned, 0.9) for epoch in range(4)] == [0, 1, 2, 2]
    assert [stage_at(PLAN, epoch, learned, None) for epoch in range(4)] == [0, 0, 1, 2]


def test_mixing_draws_from_the_stages_reached() -> None:
    plan, draws = [Stage(1)] * 5, 20_000
    for mix_from, allowed in (("reached", 3), ("all", 5)):
        curriculum, rng = Curriculum(mix=0.3, mix_from=mix_from), random.Random(0)  # type: ignore[arg-type]
        counts = Counter(draw_stage(plan, 2, curriculum, rng) for _ in range(draws))
        assert set(counts) == set(range(allowed))
        assert counts[2] / draws == pytest.approx(0.7 + 0.3 / allowed, abs=0.015)
        assert counts[0] / draws == pytest.approx(0.3 / allowed, abs=0.015)


def test_without_mixing_nothing_is_drawn() -> None:
    rng = random.Random(0)
    before = rng.getstate()
    assert draw_stage(PLAN, 1, Curriculum(), rng) == 1
    assert rng.getstate() == before
