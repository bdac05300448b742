"""The nine rows, laid out token by token, against the paper's table."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from latentcot.core import EVERY_STEP, Layout, Sample, Stage, UserError
from latentcot.curriculum import Curriculum
from latentcot.methods import (
    Coconut,
    CoT,
    ICoT,
    Method,
    NoCoT,
    PauseAsThought,
    PauseMultipass,
    PauseToken,
    WithoutCurriculum,
    WithoutThought,
)
from latentcot.tokens import Markers

BOT, EOT, PAUSE = 90, 91, 92
MARKERS = Markers(BOT, EOT, PAUSE)
QUESTION, STEPS, ANSWER = (1, 2), ((10, 11), (20,), (30, 31, 32)), (7, 0)
SAMPLE = Sample(QUESTION, STEPS, ANSWER)
ALL_STEPS = (10, 11, 20, 30, 31, 32)
CURRICULUM = Curriculum(stages=3, thoughts_per_step=2, drop_rest=True, epochs_first=6, epochs_per_stage=3, epochs=50)


def layouts(method: Method, curriculum: Curriculum = CURRICULUM) -> list[Layout]:
    plan = method.plan(curriculum, longest=6)
    return [method.layout(SAMPLE, stage, MARKERS, random.Random(0)) for stage in plan]


def test_coconut_walks_the_curriculum_of_gsm8k() -> None:
    prompt = (*QUESTION, BOT)
    assert layouts(Coconut()) == [
        Layout(prompt, 0, (EOT,), (*ALL_STEPS, *ANSWER)),
        Layout(prompt, 2, (EOT,), (20, 30, 31, 32, *ANSWER)),
        Layout(prompt, 4, (EOT,), (30, 31, 32, *ANSWER)),
        Layout(prompt, 6, (EOT,), ANSWER),
        Layout(prompt, 6, (EOT,), ANSWER),
    ]
    assert [stage.epochs for stage in Coconut().plan(CURRICULUM, 6)] == [6, 3, 3, 3, 35]


def test_rows_without_thoughts_have_no_markers() -> None:
    assert layouts(CoT()) == [Layout(QUESTION, 0, (), (*ALL_STEPS, *ANSWER))]
    assert layouts(NoCoT()) == [Layout(QUESTION, 0, (), ANSWER)]
    assert [one.target for one in layouts(WithoutThought())] == [one.target for one in layouts(Coconut())]
    assert {(one.prompt, one.thoughts, one.cue) for one in layouts(WithoutThought())} == {(QUESTION, 0, ())}


def test_rows_of_a_single_stage() -> None:
    assert layouts(WithoutCurriculum()) == layouts(Coconut())[-1:]
    assert layouts(PauseToken()) == [Layout((*QUESTION, *(PAUSE,) * 6), 0, (), ANSWER)]
    for method in (CoT(), NoCoT(), PauseToken(), WithoutCurriculum()):
        assert [stage.epochs for stage in method.plan(CURRICULUM, 6)] == [50]


def test_pauses_stand_where_thoughts_would() -> None:
    for one_pass, several, coconut in zip(
        layouts(PauseAsThought()), layouts(PauseMultipass()), layouts(Coconut()), strict=True
    ):
        assert several == replace(coconut, thought_token=PAUSE)
        assert one_pass == replace(coconut, prompt=coconut.prompt + (PAUSE,) * coconut.thoughts, thoughts=0)


def test_icot_removes_tokens_from_the_front() -> None:
    curriculum = replace(CURRICULUM, epochs=10)
    method = ICoT(tokens_per_epoch=2, smoothing=0)
    assert [one.target for one in layouts(method, curriculum)] == [
        (*ALL_STEPS, *ANSWER),
        (*ALL_STEPS[2:], *ANSWER),
        (*ALL_STEPS[4:], *ANSWER),
        ANSWER,
    ]
    assert [stage.epochs for stage in method.plan(curriculum, 6)] == [1, 1, 1, 7]
    with pytest.raises(UserError, match="tokens_per_epoch"):
        method.plan(replace(curriculum, epochs=3), 6)


def test_removal_smoothing_is_geometric() -> None:
    """P(offset = o) is proportional to exp(-lambda * o)."""
    (stage, *_), rng, draws = ICoT(smoothing=1.0).plan(CURRICULUM, 6), random.Random(0), 20_000
    lengths = Counter(len(ICoT().target(SAMPLE, stage, rng)) for _ in range(draws))
    whole = len(ALL_STEPS) + len(ANSWER)
    for offset, share in [(0, 0.6321), (1, 0.2325), (2, 0.0855)]:
        assert lengths[whole - offset] / draws == pytest.approx(share, abs=0.015)


def test_thoughts_per_example_follow_the_steps_it_has() -> None:
    curriculum = Curriculum(stages=5, thoughts_per_step=2, number="per_example")
    assert [one.thoughts for one in layouts(Coconut(), curriculum)] == [0, 2, 4, 6, 6, 6]
    assert [one.thoughts for one in layouts(Coconut(), replace(curriculum, number="constant"))] == [0, 2, 4, 6, 8, 10]


def test_a_chain_that_is_too_short_loses_all_its_steps() -> None:
    assert Coconut().target(SAMPLE, Stage(1, steps_removed=5), random.Random(0)) == ANSWER
    assert Coconut().target(SAMPLE, Stage(1, EVERY_STEP), random.Random(0)) == ANSWER


def test_names() -> None:
    rows = [CoT, NoCoT, ICoT, PauseToken, Coconut, WithoutCurriculum, WithoutThought, PauseAsThought, PauseMultipass]
    assert [row().name for row in rows] == [
        "cot", "no_cot", "icot", "pause_token", "coconut", "without_curriculum", "without_thought",
        "pause_as_thought", "pause_multipass",
    ]  # fmt: skip
