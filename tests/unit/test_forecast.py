"""The forecast says what the training set will lay out."""

from dataclasses import replace

import pytest

from latentcot.config import ModelConfig, RunConfig, Scratch
from latentcot.core import Example, UserError
from latentcot.curriculum import Curriculum
from latentcot.methods import Coconut, CoT, NoCoT
from latentcot.training.forecast import forecast, render

EXAMPLES = [Example(f"w{n} w{n}", ("w1 w2 w3",) * n, "w9") for n in (1, 2, 2, 4)]
CONFIG = RunConfig(curriculum=Curriculum(stages=2, thoughts_per_step=2, epochs_first=1, epochs_per_stage=1, epochs=5))


def test_a_curriculum_on_a_data_set() -> None:
    found = forecast(CONFIG, EXAMPLES)
    # A line break ends question and steps; "###" stands before the answer and eos after it.
    assert found.tokens == {"question": [3, 3, 3], "steps": [8, 16, 16], "answer": [3, 3, 3]}
    assert [one.stage.thoughts for one in found.stages] == [0, 2, 4]
    assert [one.stage.epochs for one in found.stages] == [1, 1, 3]
    assert [one.out_of_steps for one in found.stages] == [0.0, 0.25, 0.75]
    # Question, two markers, thoughts, the steps that are left, answer.
    assert [one.positions[-1] for one in found.stages] == [3 + 2 + 0 + 16 + 3, 3 + 2 + 2 + 12 + 3, 3 + 2 + 4 + 8 + 3]
    assert [one.targets for one in found.stages] == [9 + 3, 5 + 3, 2 + 3]


@pytest.mark.parametrize(("method", "out_of_steps"), [(CoT(), 0.0), (NoCoT(), 1.0)])
def test_rows_of_one_stage(method: CoT | NoCoT, out_of_steps: float) -> None:
    (stage,) = forecast(replace(CONFIG, method=method), EXAMPLES).stages
    assert stage.out_of_steps == out_of_steps
    assert stage.stage.epochs == 5


def test_it_is_rendered_a_line_a_stage() -> None:
    lines = render(forecast(replace(CONFIG, method=Coconut()), EXAMPLES)).splitlines()
    assert len(lines) == 1 + 3 + 1 + 3
    assert lines[-1].split()[0] == "2"


def test_a_tokenizer_that_is_not_there_is_named() -> None:
    model = ModelConfig(scratch=Scratch(tokenizer="/nowhere"))
    with pytest.raises(UserError, match=r"model\.scratch\.tokenizer '/nowhere'"):
        forecast(replace(CONFIG, model=model), EXAMPLES)
