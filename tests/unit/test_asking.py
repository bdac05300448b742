"""What the page shows, without the page: equal to the package's own answers, and faults in words."""

import random
from dataclasses import replace

import pytest
import torch

from latentcot.checkpoint import Checkpoint, start
from latentcot.config import ModelConfig, Scratch
from latentcot.core import Example, Prediction, UserError
from latentcot.data import chains, prosqa
from latentcot.data.columns import AS_NAMED
from latentcot.data.graph import graph_of
from latentcot.data.records import question_key, reshuffle_facts, write
from latentcot.generate import answer
from latentcot.methods import Coconut, CoT, Method
from latentcot.report.findings import Subject, race, tree
from latentcot.tokens import final_answer, texts_of
from latentcot.ui.asking import LONGEST, Answer, Picture, Shown, as_html, ask, require_short, whole
from latentcot.ui.questions import MAKERS, fresh, of_data

PROSQA = prosqa.make_splits({"test": 40}, seed=1)["test"]
CHAINS = chains.make_splits({"train": 40, "test": 20}, seed=1)["test"]
SUMS = [Example(f"{a} + {b} ?", (), str(a + b)) for a in range(3) for b in range(3)]


def checkpoint(examples: list[Example], method: Method | None = None, thoughts: int = 2) -> Checkpoint:
    """A small model with random weights whose words are those of the examples."""
    torch.manual_seed(0)
    method = method or Coconut()
    scratch = Scratch(layers=1, heads=2, width=16, positions=512, initializer_range=0.3)
    model, tokenizer, markers = start(ModelConfig(scratch=scratch), texts_of(examples))
    has_thoughts = isinstance(method, Coconut)
    return Checkpoint(
        model.eval(), tokenizer, method.frame(markers), thoughts if has_thoughts else 0, method.name, max_new_tokens=8
    )


@pytest.mark.parametrize("example", CHAINS)
def test_a_chain_is_understood_by_its_text(example: Example) -> None:
    assert chains.from_text(example.question) == example


@pytest.mark.parametrize("example", PROSQA)
def test_a_prosqa_question_is_understood_by_its_text(example: Example) -> None:
    found = prosqa.from_text(example.question)
    assert found is not None
    assert (found.question, found.answer, len(found.steps)) == (example.question, example.answer, len(example.steps))
    assert sorted(graph_of(found).facts) == sorted(graph_of(example).facts)
    assert graph_of(found).heights() is not None


@pytest.mark.parametrize(
    "question",
    [
        "", "Hello?", "Is Tom a lempus or rempus?",
        "Tom is a lempus. Is Tom a yimpus or rempus?",  # No fact about the options.
        "Tom is a lempus. Every lempus is a rempus. Is Tom a lempus or rempus?",  # Both are right.
        "Tom is a lempus. Sam is a rempus. Is Tom a Tom or rempus?",
        "Every Tom is a lempus. Sam is a rempus. Is Tom a lempus or rempus?",  # Nothing makes Tom a concept.
        "A B. B A. From C follow 1 arrow.",
        "A B. B C. From A follow 1 arrow.",  # No round trip.
        "A B. A C. B A. C A. From A follow 1 arrow.",
        "A B. B A. From A follow 0 arrows.",
        "A B. B A. From A follow 1000000000000 arrows.",
    ],
)  # fmt: skip
def test_other_texts_are_not(question: str) -> None:
    assert prosqa.from_text(question) is None
    assert chains.from_text(question) is None
    assert fresh([checkpoint(SUMS)]).understood(question) == Example(question, (), "")


@pytest.mark.parametrize("thoughts", [0, 1, 3])
def test_what_is_shown_is_what_the_package_says(thoughts: int) -> None:
    both = {"a": checkpoint(PROSQA), "b": checkpoint(PROSQA, CoT())}
    shown = ask(both, PROSQA[0], thoughts)
    for one, name, number in zip(shown.answers, both, (thoughts, 0), strict=True):
        (expected,) = answer(both[name], [PROSQA[0].question], thoughts=number)
        assert (one.name, one.row, one.text) == (name, both[name].row, expected.text)
        assert (one.tokens, one.thoughts) == (expected.tokens, expected.thoughts)
        assert one.correct is (final_answer(expected.text) == final_answer(PROSQA[0].answer))
    subject = Subject(both["a"], [PROSQA[0]], thoughts)
    for picture, find in ((shown.race, race), (shown.tree, tree)):
        assert picture.title == find(subject, 0).title
        assert picture.svg.count("<!-- 1 thought -->") == (thoughts >= 1)
        assert picture.svg.count("<!-- 3 thoughts -->") == (thoughts >= 3)


def test_right_and_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"a": checkpoint(CHAINS)}
    monkeypatch.setattr("latentcot.ui.asking.answer", lambda *_, **__: [Prediction("So ### B", 4, 2)])
    assert ask(one, CHAINS[0], 2).answers[0].final == "B"
    for gold, correct in (("B", True), ("not B", False), ("", None)):
        shown = ask(one, replace(CHAINS[0], answer=gold) if gold else Example(CHAINS[0].question, (), ""), 2)
        assert shown.answers[0].correct is correct


def test_pictures_that_a_question_does_not_allow_say_why() -> None:
    shown = ask({"a": checkpoint(CHAINS)}, CHAINS[0], 2)
    assert shown.race.svg
    assert not shown.tree.svg
    assert "no graph" in shown.tree.note
    assert "candidates" in ask({"a": checkpoint(SUMS)}, SUMS[0], 2).race.note


@pytest.mark.parametrize(
    ("question", "thoughts", "method", "said"),
    [
        (" ", 2, Coconut(), "a: the question is empty"),
        ("1 + one ?", 2, Coconut(), "a: 'one' is not in the model's vocabulary"),
        ("1 + 1 ?", 600, Coconut(), "positions"),
        ("1 + " * 300, 2, Coconut(), "positions"),
        ("1 + 1 ?", 1, CoT(), "this row has no thoughts"),
        ("1 + 1 ?", -1, Coconut(), "give 0 or more"),
    ],
)
def test_faults_in_words(question: str, thoughts: int, method: Method, said: str) -> None:
    with pytest.raises(UserError) as fault:
        ask({"a": checkpoint(SUMS, method)}, Example(question, (), ""), thoughts)
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_question_may_be_so_long() -> None:
    require_short("w" * LONGEST)
    with pytest.raises(UserError, match="the question has 10,001 characters: give 10,000 at most"):
        require_short("w" * (LONGEST + 1))


@pytest.mark.parametrize("number", [None, -1, 2.5, 9, 1e300, float("nan"), float("inf")])
def test_numbers_of_thoughts_that_are_none(number: float | None) -> None:
    with pytest.raises(UserError, match=r"the number of thoughts is .*: give a whole one from 0 to 8"):
        whole(number, 8)
    assert [whole(float(good), 8) for good in range(9)] == list(range(9))


@pytest.mark.parametrize(("examples", "task"), [(PROSQA, "ProsQA"), (CHAINS, "chains")])
def test_fresh_questions_are_of_the_task_that_the_model_knows(examples: list[Example], task: str) -> None:
    one, rng = checkpoint(examples), random.Random(0)
    questions = fresh([one])
    drawn = [questions.draw([one], rng) for _ in range(5)]
    assert task in questions.origin
    assert len({example.question for example in drawn}) == 5
    for example in drawn:
        one.layout(example.question)
        assert questions.understood(example.question).answer == example.answer


def test_a_model_that_knows_no_task_has_no_fresh_questions() -> None:
    one = checkpoint(SUMS)
    assert not fresh([one]).origin
    with pytest.raises(UserError, match=f"does not know {' or '.join(MAKERS)}: start the page with --data"):
        fresh([one]).draw([one], random.Random(0))
    assert not fresh([checkpoint(CHAINS), one]).origin  # All must know it.


def test_questions_of_a_data_set_are_known_in_any_order_of_their_facts(tmp_path) -> None:
    file, one = tmp_path / "own.json", checkpoint([*CHAINS, *SUMS])
    write(file, [*CHAINS[:3], SUMS[1]])
    questions = of_data(file, AS_NAMED, [one])
    assert questions.origin == str(file)
    assert questions.draw([one], random.Random(0)) in [*CHAINS[:3], SUMS[1]]
    assert questions.understood(f" {SUMS[1].question}\n") == SUMS[1]
    turned = reshuffle_facts(CHAINS[0].question, random.Random(1))
    assert question_key(turned) == question_key(CHAINS[0].question)
    assert questions.understood(turned) == replace(CHAINS[0], question=turned)
    with pytest.raises(UserError, match=r"own\.json: none of 100 questions fits the model"):
        of_data(file, AS_NAMED, [checkpoint(PROSQA)])


def test_text_is_escaped_and_pictures_are_not() -> None:
    one = Answer("<a>", "row", "<i> ### <q>", None, 3, 0, 4.2)
    shown = Shown(Example("<u>", (), ""), [one], Picture("r", "<n>", "<svg>"), Picture("t", "none"))
    page = as_html("answers", shown) + as_html("picture", shown.race) + as_html("message", "<m>")
    assert [tag for tag in ("<a>", "<i>", "<q>", "<u>", "<n>", "<m>") if tag in page] == []
    assert "&lt;i&gt; ### &lt;q&gt;" in page
    assert page.count("<svg>") == 1
    assert "3 tokens, 4 ms" in " ".join(page.split())
    assert "<div" not in as_html("picture", shown.tree)
