"""Answers at forced numbers of thoughts, the case that more thoughts mend, and runs beside each other."""

import json
from pathlib import Path

import pytest
import yaml

from latentcot.analysis.case import Answered, answered, choose
from latentcot.analysis.interpolation import interpolation
from latentcot.analysis.sweep import finished
from latentcot.core import Example, UserError
from latentcot.evaluation.paths import Outcome
from latentcot.evaluation.statistics import wilson
from latentcot.generate import answer
from latentcot.report.plots.accuracy import OUTCOMES, draw_interpolation, draw_sweep
from latentcot.report.plots.case import draw_case
from latentcot.tokens import final_answer
from tests.conftest import checkpoint, tiny_model

GRAPH = {"idx_to_symbol": ["w1", "w2", "w3"], "edges": [[0, 1]], "root": 0, "target": 1, "neg_target": 2}
QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7"]


def test_each_number_of_thoughts_is_answered_by_itself() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    texts = [final_answer(prediction.text) for prediction in answer(thinker, QUESTIONS, thoughts=2)]
    examples = [Example(question, (), text, GRAPH) for question, text in zip(QUESTIONS, texts, strict=True)]
    found = interpolation(thinker, examples, range(4))
    assert [one.thoughts for one in found] == [0, 1, 2, 3]
    assert found[2].accuracy == 1
    assert found[0].accuracy < 1
    for one in found:
        assert (one.low, one.high) == wilson(round(one.accuracy * 3), 3)
        assert list(one.outcomes) == [str(kind) for kind in Outcome] == list(OUTCOMES)
        assert sum(one.outcomes.values()) == pytest.approx(1)
    assert len(draw_interpolation(found).axes) == 2
    plain = [Example(example.question, (), example.answer) for example in examples]
    without = interpolation(thinker, plain, range(4))
    assert [one.accuracy for one in without] == [one.accuracy for one in found]
    assert len(draw_interpolation(without).axes) == 1


def case(*marks: bool, outcomes: str = "") -> list[Answered]:
    kinds = outcomes or "x" * len(marks)
    return [
        Answered(0, "coconut", number, "", mark, kind)
        for number, (mark, kind) in enumerate(zip(marks, kinds, strict=True))
    ]


def test_the_case_is_one_that_more_thoughts_mend() -> None:
    always, never, undone = case(True, True, True), case(False, False, False), case(True, False, False)
    mended, wavering = case(False, False, True), case(False, True, False, True)
    assert choose([always, never, undone]) is None
    assert choose([always, wavering, mended]) == 2
    assert choose([always, mended, mended]) == 1
    assert choose([mended, case(False, False, True, outcomes="abc")]) == 1


def test_answers_of_a_case_are_those_of_the_model() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    examples = [Example(question, (), "w2 is a w3.", GRAPH) for question in QUESTIONS]
    found = answered(thinker, examples, [0, 2])
    assert [[one.thoughts for one in row] for row in found] == [[0, 2]] * 3
    for number, column in enumerate(zip(*found, strict=True)):
        expected = answer(thinker, QUESTIONS, thoughts=2 * number)
        assert [one.text for one in column] == [prediction.text for prediction in expected]
    assert all(one.outcome in OUTCOMES for row in found for one in row)


def test_the_drawn_case_marks_lines_that_are_no_fact() -> None:
    example = Example("w1 is a w2. Is w1 a w2 or w3?", ("w1 is a w2.",), "w1 is a w2.", GRAPH)
    answers = [
        Answered(0, "cot", 0, "w1 is a w3.\n### w1 is a w3.", False, "hallucination"),
        Answered(0, "coconut", 0, "w1 is a w2.\n### w1 is a w2.", True, "correct_path"),
        Answered(0, "coconut", 1, "### w1 is a w2.", True, "correct_label"),
        Answered(0, "named", 0, "w1 w2\n\nw1 w3", True, "correct_path"),
    ]
    texts = [text.get_text() for text in draw_case(answers, example).axes[0].texts]
    assert texts.count("✗ w1 is a w3.") == 1
    assert texts.count("w1 is a w2.") == texts.count("w1 w2") == texts.count("✗ w1 w3") == 1
    assert [text for text in texts if text in ("cot", "coconut, 0 thoughts", "coconut, 1 thought")] == [
        "cot", "coconut, 0 thoughts", "coconut, 1 thought",
    ]  # fmt: skip
    assert "wrong: hallucination" in texts
    assert "right: correct label" in texts


def write_run(folder: Path, row: str, per_step: int, accuracy: float, thoughts: float) -> Path:
    folder.mkdir()
    best = {"accuracy": accuracy, "tokens": 2 + thoughts, "thoughts": thoughts} if accuracy else {}
    result = {"row": row, "seed": 3, "updates": 9, "parameters": 5, "seconds": 1.0, "stages": [], "best": best}
    (folder / "result.json").write_text(json.dumps(result))
    config = {"curriculum": {"thoughts_per_step": per_step}, "data": {"valid": None}, "sha256": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_finished_runs_are_read_and_drawn(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, row, c, accuracy, thoughts)
        for name, row, c, accuracy, thoughts in (
            ("a", "coconut", 1, 0.5, 3), ("b", "coconut", 2, 0.7, 6), ("c", "cot", 1, 0.6, 0),
        )
    ]  # fmt: skip
    found = finished(runs)
    assert [(one.row, one.thoughts_per_step, one.tokens, one.accuracy) for one in found] == [
        ("coconut", 1, 5, 0.5), ("coconut", 2, 8, 0.7), ("cot", 1, 2, 0.6),
    ]  # fmt: skip
    tokens, sweep = draw_sweep(found).axes
    assert tokens.get_xlabel() == "tokens written and thought"
    assert list(sweep.get_xticks()) == [1, 2]
    assert len(draw_sweep([found[0], found[2]]).axes) == 1


def test_runs_that_are_not_finished_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of a finished run"):
        finished([tmp_path])
    with pytest.raises(UserError, match="no validated checkpoint"):
        finished([write_run(tmp_path / "a", "cot", 1, 0, 0)])
    (tmp_path / "a" / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json: is damaged"):
        finished([tmp_path / "a"])
    (tmp_path / "a" / "result.json").write_text("[]")
    with pytest.raises(UserError, match="holds list and not an object"):
        finished([tmp_path / "a"])
