"""Answers are the checkpoint's own: no setting of the base model, and nothing that stands beside a question."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, TextStreamer

from latentcot.checkpoint import Checkpoint, load, start
from latentcot.config import ModelConfig
from latentcot.core import Slot, UserError
from latentcot.generate import answer
from tests.conftest import WORDS, checkpoint, tiny_model

QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11"]

SETTINGS = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(5, 12)),
    "begin_suppress_tokens": list(range(3, 12)),
    "bad_words_ids": [[token] for token in range(5, 15)],
    "sequence_bias": [[[7], 50.0]],
    "exponential_decay_length_penalty": [1, 2.0],
    "forced_eos_token_id": 1,
    "eos_token_id": list(range(1, 30)),
    "min_length": 60,
    "max_length": 3,
    "max_time": 0.0,
    "stop_strings": ["w"],
    "num_beams": 3,
    "num_return_sequences": 2,
    "do_sample": True,
    "temperature": 5.0,
    "guidance_scale": 2.0,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "prompt_lookup_num_tokens": 3,
    "cache_implementation": "static",
    "use_cache": False,
    "return_dict_in_generate": True,
    "token_healing": True,
    "watermarking_config": {"bias": 9.0},
}


def texts(thinker: Checkpoint, **options: object) -> list[str]:
    return [prediction.text for prediction in answer(thinker, QUESTIONS, **options)]


@pytest.mark.parametrize("thoughts", [0, 2])
def test_no_generation_setting_of_a_model_changes_an_answer(thoughts: int) -> None:
    thinker = checkpoint(tiny_model("gpt2"), thoughts=thoughts)
    expected = texts(thinker)
    for name, value in SETTINGS.items():
        thinker.model.generation_config = GenerationConfig()
        setattr(thinker.model.generation_config, name, value)
        assert texts(replace(thinker)) == expected, name


def test_no_setting_of_an_older_checkpoints_file_changes_an_answer(tmp_path: Path) -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    expected = texts(thinker)
    thinker.save(tmp_path)
    (tmp_path / "manifest.json").unlink()  # As in a checkpoint of an earlier version.
    for settings in ({}, {"do_sample": True}, {"num_beams": 3}, SETTINGS):
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 5, **settings}))
        assert texts(load(tmp_path, device="cpu")) == expected


def test_a_run_does_not_inherit_the_settings_of_its_base(tmp_path: Path) -> None:
    base = checkpoint(tiny_model("gpt2"))
    base.save(tmp_path / "base")
    expected = texts(base)
    (tmp_path / "base" / "manifest.json").unlink()  # As in a model of another tool.
    file = tmp_path / "base" / "generation_config.json"
    own = json.loads(file.read_text())
    file.write_text(json.dumps({**own, **{name: SETTINGS[name] for name in ("repetition_penalty", "num_beams")}}))
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "no_repeat_ngram_size": 1}))
    model, tokenizer, _ = start(ModelConfig(base=str(tmp_path / "base")), [])
    thinker = Checkpoint(model, tokenizer, base.frame, base.thoughts, base.row, base.max_new_tokens)
    assert texts(thinker) == expected
    thinker.save(tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    assert {name for name, value in saved.items() if value is not None} == {
        "eos_token_id", "pad_token_id", "transformers_version",
    }  # fmt: skip
    assert saved["eos_token_id"] == tokenizer.eos_token_id
    assert saved["pad_token_id"] == tokenizer.pad_token_id
    assert "no_repeat_ngram_size" not in json.loads((tmp_path / "run" / "config.json").read_text())


def test_generation_fields_of_a_models_own_configuration_change_nothing() -> None:
    expected = texts(checkpoint(tiny_model("gpt2")))
    model = tiny_model("gpt2")
    model.config.repetition_penalty, model.config.num_beams = 5.0, 3
    assert texts(checkpoint(model)) == expected


@pytest.mark.parametrize("thoughts", [0, 2])
@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama", "gemma3_text"])
def test_an_answer_does_not_depend_on_its_batch(architecture: str, thoughts: int) -> None:
    """Also near the last position, where a short question has room for a longer answer than a long one."""
    positions = 24
    thinker = checkpoint(tiny_model(architecture, max_position_embeddings=positions), thoughts=thoughts)
    thinker.max_new_tokens = 15
    draw = random.Random(0)
    longest = positions - thoughts - 4
    lengths = [1, longest, *(draw.randint(1, longest) for _ in range(5))]
    questions = [" ".join(draw.choices(WORDS, k=length)) for length in lengths]
    alone = [answer(thinker, [question])[0] for question in questions]
    if architecture in ("gpt2", "opt"):  # With a table of positions, beyond which there is none.
        assert alone[1].tokens - thoughts == positions - longest - thoughts - 3
        assert max(prediction.tokens for prediction in alone) > alone[1].tokens + 5
    assert answer(thinker, questions) == alone
    assert answer(thinker, questions, batch_size=3) == alone
    assert answer(thinker, questions, max_new_tokens=1000)[1] == alone[1]


@pytest.mark.parametrize("slot", [Slot.STATE, Slot.NONE])
def test_beams_find_the_likeliest_answer_of_every_question(slot: Slot) -> None:
    """With as many beams as there are answers, the best is the best of all; alone as in a batch."""
    thinker = checkpoint(tiny_model("gpt2"), slot, thoughts=2 if slot is Slot.STATE else 0)
    alone = [answer(thinker, [question], num_beams=4)[0] for question in QUESTIONS]
    assert answer(thinker, QUESTIONS, num_beams=4) == alone
    assert answer(thinker, QUESTIONS, num_beams=1) == answer(thinker, QUESTIONS)
    for question, found in zip(QUESTIONS, alone, strict=True):
        (pair,) = answer(thinker, [question], num_beams=36, max_new_tokens=2, length_penalty=0.0)
        assert pair.text == likeliest_pair(thinker, question)
        assert found.text


def likeliest_pair(thinker: Checkpoint, question: str) -> str:
    """The likeliest answer of at most two tokens, by computing the probability of each."""
    from tests.equivalence import naive

    layout, eos = thinker.layout(question), thinker.tokenizer.eos_token_id
    embed = thinker.model.get_input_embeddings()
    with torch.no_grad():
        sequence, _ = naive.embedded(thinker.model, layout)
        first = thinker.model(inputs_embeds=sequence).logits[0, -1].log_softmax(-1)
        ids = torch.arange(len(first))
        longer = torch.cat([sequence.expand(len(ids), -1, -1), embed(ids)[:, None]], dim=1)
        second = thinker.model(inputs_embeds=longer).logits[:, -1].log_softmax(-1)
    scores = first[:, None] + second
    scores[eos] = first[eos] - 1e-3 * torch.arange(len(first))  # Ends at once, whatever would follow.
    best = divmod(int(scores.argmax()), len(first))
    written = best[: best.index(eos)] if eos in best else best
    return str(thinker.tokenizer.decode(list(written), skip_special_tokens=True))


@pytest.mark.parametrize(
    "option",
    [
        {"num_return_sequences": 8},
        {"prompt_lookup_num_tokens": 3},
        {"assistant_model": None},
        {"return_dict_in_generate": True},
        {"custom_generate": "transformers-community/dola"},
        {"cache_implementation": "static"},
        {"repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 2},
        {"generation_config": None},
        {"eos_token_id": 3},
        {"stop_strings": ["w"]},
        {"temprature": 0.5},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_is_not_right_with_thoughts_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(option))} cannot be used.*(leave it out|several times)"):
        answer(checkpoint(tiny_model("gpt2")), QUESTIONS, **option)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "temperature changes nothing without do_sample=True"),
        ({"length_penalty": 2.0}, "length_penalty changes nothing without num_beams"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0: give 1 or more"),
        ({"num_beams": 0}, "num_beams is 0: give 1 or more"),
        ({"num_beams": 2, "do_sample": True}, "num_beams is 2: leave out do_sample"),
        ({"do_sample": True, "temperature": 0}, "temperature is 0: give more than 0"),
        ({"do_sample": True, "temperature": float("nan")}, "temperature is nan"),
        ({"do_sample": True, "top_p": 3.0}, "top_p is 3.0: give more than 0, at most 1"),
        ({"do_sample": True, "top_k": -2}, "top_k is -2"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value),
)
def test_options_that_cannot_work_are_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        answer(checkpoint(tiny_model("gpt2")), QUESTIONS, **options)
    assert "\n" not in str(caught.value)


def test_a_streamer_gets_the_answers_one_after_another() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    written: list[str] = []

    class Collect(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            written.append(text + "|" * stream_end)

    streamer = Collect(thinker.tokenizer, skip_prompt=True, skip_special_tokens=True)
    assert texts(thinker, streamer=streamer) == texts(thinker)
    assert [text.strip() for text in "".join(written).split("|")[:-1]] == texts(thinker)
