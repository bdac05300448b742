"""From text to tokens: the markers on a stock tokenizer and model, and a word-level tokenizer from data."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentcot.core import Example, Ids, Sample, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MARKERS = ("<bot>", "<eot>", "<pause>")
"""Begin of thought, end of thought, pause: real tokens, added to every model so that all rows have one shape."""

ANSWER_MARK = "###"
"""Stands before the answer in every target (the paper's layout)."""


def final_answer(text: str) -> str:
    """The answer in a written text by the published rule: what follows the last `###`, no commas, no outer space."""
    return text.rsplit(ANSWER_MARK, 1)[-1].replace(",", "").strip()


@dataclass(frozen=True)
class Markers:
    """Ids of the marker tokens."""

    bot: int
    eot: int
    pause: int


def add_markers(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, like: str = "<<", anew: bool = False
) -> Markers:
    """Add the markers to a tokenizer and its model, unless they are there, and return their ids.

    New embedding and LM-head rows start as a copy of the row of `like`'s first token, which stabilises training
    (the paper's section 4.1 starts from a known token). A tokenizer that does not know it falls back on eos. With
    `anew`, markers that are there start anew as well.
    """
    import torch

    known = tokenizer.get_vocab()
    new = [marker for marker in MARKERS if anew or marker not in known]
    if new:
        source = (tokenizer.encode(like, add_special_tokens=False) or [tokenizer.eos_token_id])[0]
        if source == tokenizer.unk_token_id:
            source = tokenizer.eos_token_id
        tokenizer.add_special_tokens({"extra_special_tokens": new}, replace_extra_special_tokens=False)
        ids = tokenizer.convert_tokens_to_ids(new)
        if max(ids) >= model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
        with torch.no_grad():
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.weight[ids] = layer.weight[source].clone()
    bot, eot, pause = tokenizer.convert_tokens_to_ids(list(MARKERS))
    return Markers(bot, eot, pause)


def encode_questions(questions: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> list[Ids]:
    """Questions, each with its line break, as every row's prompt begins; all in one call of the tokenizer."""
    prefix = _prefix(tokenizer)
    return [prefix + ids for ids in encode_texts([_question_line(question) for question in questions], tokenizer)]


def encode_examples(examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase) -> list[Sample]:
    """Examples in tokens, all texts in one call of the tokenizer.

    Question, steps and answer are tokenized apart, so that a step has the same tokens whatever was removed before
    it. UserError if the tokenizer does not know a word.
    """
    examples = list(examples)
    encoded, prefix = iter(encode_texts(list(texts_of(examples)), tokenizer)), _prefix(tokenizer)
    eos: int = tokenizer.eos_token_id  # Looked up by name at every call.
    return [
        Sample(
            question=prefix + next(encoded),
            steps=tuple(next(encoded) for _ in example.steps),
            answer=(*next(encoded), eos),
        )
        for example in examples
    ]


def texts_of(examples: Iterable[Example]) -> Iterator[str]:
    """The parts of the examples as a model meets them: question, steps and answer of each, in that order.

    Each step is a line, but one that begins with a space goes on in the line of the step before; there is none before
    the first.
    """
    for example in examples:
        yield _question_line(example.question)
        first, others = [step.lstrip(" ") for step in example.steps[:1]], example.steps[1:]
        for step, following in itertools.pairwise([*first, *others, ""]):
            yield step if following.startswith(" ") else f"{step}\n"
        yield f"{ANSWER_MARK} {example.answer}"


def _question_line(question: str) -> str:
    """Return a question as a model meets it, in training and in answering: a line without outer space."""
    return f"{question.strip()}\n"


def _prefix(tokenizer: PreTrainedTokenizerBase) -> Ids:
    """The begin-of-sequence token of the tokenizers that open every text with one (Llama's, Gemma's)."""
    return tuple(token for token in tokenizer("")["input_ids"] if token == tokenizer.bos_token_id)


def encode_texts(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[Ids]:
    """The tokens of each text and nothing else; UserError if the tokenizer does not know a word."""
    options = {"return_attention_mask": False, "return_token_type_ids": False}  # Half of the time goes into these.
    encoded = tokenizer(texts, add_special_tokens=False, **options)["input_ids"]
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        for text, ids in zip(texts, encoded, strict=True):
            if unknown in ids:
                raise UserError(
                    f"{_unknown_words(text, tokenizer)} not in the model's vocabulary: reword {text.strip()[:60]!r}, "
                    "or train with a sub-word tokenizer (model.scratch.tokenizer; latentcot fetch gpt2-tokenizer)"
                )
    return [tuple(ids) for ids in encoded]


def _unknown_words(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    words = [w for w in text.split() if tokenizer.unk_token_id in tokenizer.encode(w, add_special_tokens=False)]
    return ", ".join(repr(word) for word in words[:5]) + (" is" if len(words) == 1 else " are")


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A tokenizer with one token for each word, punctuation mark and line break of the texts, for models from scratch.

    Words are the same token at the start of a line and within it; a text may begin with a space, which changes nothing.
    UserError if a text does not survive it, which happens where spacing around punctuation carries meaning.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [*texts, ANSWER_MARK]
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n|▁?[\w'-]+|▁?[^\w\s▁]+|▁"), "isolated")]  # type: ignore[no-untyped-call]
    )
    normal = normalizers.Sequence(
        [normalizers.Replace(Regex(r"(?m)^(?=[^\n ])|(?<=\n)(?= )"), "▁"), normalizers.Replace(" ", "▁")]  # type: ignore[no-untyped-call]
    )
    words = {piece for text in set(texts) for piece, _ in split.pre_tokenize_str(normal.normalize_str(text))}
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *sorted(words | {"\n"})])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, split
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Fuse(),
            decoders.Replace("\n▁", "\n"),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    _check_round_trip(fast, texts)
    return fast


def _check_round_trip(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
    for text, ids in zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True):
        if (back := tokenizer.decode(ids)) != text.removeprefix(" "):
            raise UserError(
                f"the word-level tokenizer reads {text!r:.60} back as {back!r:.60}: "
                "give model.scratch.tokenizer the name or folder of a sub-word tokenizer instead"
            )
