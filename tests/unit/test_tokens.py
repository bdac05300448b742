"""Markers and the word-level tokenizer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from latentcot.core import Example, UserError
from latentcot.tokens import (
    MARKERS,
    add_markers,
    encode_examples,
    encode_questions,
    final_answer,
    texts_of,
    word_tokenizer,
)
from tests.conftest import checkpoint, tiny_model

TEXTS = ["Tom is a lempus. Is Tom a lempus or yumpus?\n", "Every lempus is a yumpus.\n", "### Tom is a yumpus."]
words = st.text("abcdefghij", min_size=1, max_size=6)
sentences = st.lists(words, min_size=1, max_size=8).map(lambda parts: " ".join(parts) + ".")


@settings(max_examples=50, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=4))
def test_words_survive(texts: list[str]) -> None:
    tokenizer = word_tokenizer(texts)
    text = "\n".join(texts)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_word_is_one_token_wherever_it_stands() -> None:
    tokenizer = word_tokenizer(TEXTS)
    assert len(tokenizer("lempus")["input_ids"]) == 1
    first, *_, last = tokenizer("Tom is a lempus. Tom")["input_ids"]
    assert first == last
    assert tokenizer("Every lempus\nTom")["input_ids"][-1] == last


def test_a_saved_tokenizer_is_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = word_tokenizer(TEXTS)
    add_markers(tokenizer, tiny_model("gpt2"))
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "".join(TEXTS[:2])
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.convert_tokens_to_ids(list(MARKERS)) == tokenizer.convert_tokens_to_ids(list(MARKERS))


def test_unknown_words_are_named() -> None:
    with pytest.raises(UserError, match="'Zed'"):
        encode_questions(["Is Zed a lempus?"], word_tokenizer(TEXTS))


spaces = st.text(" \n\t", max_size=3)


@settings(max_examples=50, deadline=None)
@given(spaces, spaces, st.lists(sentences, min_size=1, max_size=3).map("\n".join))
def test_a_question_has_the_same_tokens_in_training_and_in_answering(before: str, after: str, question: str) -> None:
    """Outer space is cut in both, line breaks inside are kept in both."""
    model = checkpoint(tiny_model("gpt2"))
    model.tokenizer = word_tokenizer(texts_of([Example(question, (), "a")]))
    example = Example(f"{before}{question}{after}", (), "a")
    trained = encode_examples([example], model.tokenizer)[0].question
    assert trained == encode_questions([question], model.tokenizer)[0]
    layout = model.layout(example.question)
    assert layout.prompt[: len(trained)] == trained
    assert model.tokenizer.decode(trained) == f"{question}\n"


def test_a_first_step_that_begins_with_a_space_is_a_line_of_its_own() -> None:
    texts = list(texts_of([Example("Q?", (" a", " b", "c"), "d")]))
    assert texts == ["Q?\n", "a", " b\n", "c\n", "### d"]


def test_texts_that_words_cannot_hold_are_refused() -> None:
    with pytest.raises(UserError, match="sub-word"):
        word_tokenizer(["a▁b"])


@pytest.mark.parametrize("tied", [True, False])
def test_new_markers_start_as_a_known_token(tied: bool) -> None:
    """Input and output rows alike; ids are stable when markers are there already."""
    model, tokenizer = tiny_model("gpt2", tie_word_embeddings=tied, vocab_size=len(word_tokenizer(TEXTS))), None
    tokenizer = word_tokenizer(TEXTS)
    (known,) = tokenizer("lempus")["input_ids"]
    markers = add_markers(tokenizer, model, like="lempus")
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        assert layer.weight.shape[0] == len(tokenizer)
        for marker in (markers.bot, markers.eot, markers.pause):
            assert torch.equal(layer.weight[marker], layer.weight[known])
    assert add_markers(tokenizer, model) == markers


def test_an_example_in_tokens() -> None:
    tokenizer = word_tokenizer(TEXTS)
    (sample,) = encode_examples([Example("Is Tom a lempus?", ("Tom is a yumpus.",), "Tom is a yumpus.")], tokenizer)
    assert tokenizer.decode(sample.question) == "Is Tom a lempus?\n"
    assert [tokenizer.decode(step) for step in sample.steps] == ["Tom is a yumpus.\n"]
    assert tokenizer.decode(sample.answer) == "### Tom is a yumpus.<eos>"
    assert sample.question == encode_questions(["Is Tom a lempus?"], tokenizer)[0]


def test_a_step_that_begins_with_a_space_goes_on_in_the_line() -> None:
    """Together the steps give the text that one step in one line gives, token by token."""
    names, line = ("Tom", " yumpus", " lempus"), ("Tom yumpus lempus",)
    apart, whole = (Example("Is Tom a lempus?", steps, "Tom is a lempus.") for steps in (names, line))
    tokenizer = word_tokenizer(texts_of([apart]))
    assert "".join(texts_of([apart])) == "".join(texts_of([whole]))
    one, other = encode_examples([apart, whole], tokenizer)
    assert sum(one.steps, ()) == other.steps[0]
    assert [tokenizer.decode(step) for step in one.steps] == ["Tom", "yumpus", "lempus\n"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("Tom is.\n### 1,234 ", "1234"), ("### a ### b", "b"), ("no mark", "no mark"), ("x\n###", "")],
)
def test_the_published_answer_rule(text: str, answer: str) -> None:
    assert final_answer(text) == answer
