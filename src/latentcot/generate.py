"""Batched answers: think, then the model's own `generate()` over the same KV cache. And the thoughts alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from latentcot.architecture import Together
from latentcot.batch import collate
from latentcot.core import Batch, Layout, Prediction, Slot, UserError
from latentcot.speed.cache import cache_argument, fork_cache
from latentcot.think import batch_plan, roll

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from transformers import DynamicCache, PreTrainedModel

    from latentcot.checkpoint import Checkpoint

# It counts columns, padding and all; no row gets past the model's last position here.
logging.getLogger("transformers.generation.stopping_criteria").setLevel(logging.ERROR)

SAMPLING_OPTIONS: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: 0 < value < float("inf"), "more than 0"),
    "top_k": (lambda value: value >= 0, "0, which is all tokens, or more"),
    "top_p": (lambda value: 0 < value <= 1, "more than 0, at most 1"),
    "min_p": (lambda value: 0 <= value <= 1, "0 to 1"),
}
BEAM_OPTIONS = ("length_penalty", "early_stopping")
OPTIONS = ("max_new_tokens", "do_sample", *SAMPLING_OPTIONS, "num_beams", *BEAM_OPTIONS, "streamer")
"""Options of transformers' `generate` that are right with thoughts and padding. Others read the ids before the answer,
where thoughts and padding have none, skip the thoughts, or return something else than ids."""

_INSTEAD = {"num_return_sequences": "for several answers to a question, give the question several times with do_sample"}


def answer(
    checkpoint: Checkpoint,
    questions: Sequence[str],
    *,
    thoughts: int | None = None,
    batch_size: int = 64,
    fed: Tensor | None = None,
    **options: Any,
) -> list[Prediction]:
    """Answer questions, each in at most the checkpoint's budget of written tokens.

    `thoughts` forces the number of thoughts (the checkpoint's own by default), and `fed`, [questions, thoughts, H],
    what is fed as thoughts in place of the model's own states. Decoding is greedy unless `options` says otherwise:
    those of transformers' `generate` that are in `OPTIONS`, and no settings that came with the base model. An answer
    that is not sampled does not depend on the questions beside it. A streamer gets one question after another.
    UserError for any other option, and if a question is empty, or too long for the model's positions together with its
    thoughts.
    """
    require_options(options)
    limit = options.pop("max_new_tokens", checkpoint.max_new_tokens)
    wanted = checkpoint.thoughts if thoughts is None else thoughts
    layouts = [checkpoint.layout(question, wanted) for question in questions]
    budgets = [checkpoint.budget(layout, limit) for layout in layouts]
    predictions: dict[int, Prediction] = {}
    for indices in _batches_to_answer(checkpoint.model, layouts, budgets, batch_size, options):
        states = None if fed is None else fed[indices].to(checkpoint.model.device)
        chosen = [layouts[index] for index in indices], [budgets[index] for index in indices]
        written = _generate(checkpoint, *chosen, states, options)
        for index, ids in zip(indices, written, strict=True):
            tokens = len(ids) + checkpoint.frame.counted(wanted)
            text = checkpoint.tokenizer.decode(ids, skip_special_tokens=True)
            predictions[index] = Prediction(text, tokens, checkpoint.frame.counted(wanted))
    return [predictions[index] for index in range(len(layouts))]


def require_options(options: Mapping[str, Any]) -> None:
    """Raise UserError for an option that is not known to be right, has no effect, or has an impossible value."""
    for name in options:
        if name not in OPTIONS:
            hint = _INSTEAD.get(name, f"leave it out (options are {', '.join(OPTIONS)})")
            raise UserError(f"{name} cannot be used to answer with thoughts: {hint}")
    samples, beams = bool(options.get("do_sample")), options.get("num_beams", 1)
    if options.get("max_new_tokens", 1) < 1 or beams < 1:
        name = "num_beams" if beams < 1 else "max_new_tokens"
        raise UserError(f"{name} is {options[name]}: give 1 or more")
    for names, used, needed in (
        (SAMPLING_OPTIONS, samples, "do_sample=True"),
        (BEAM_OPTIONS, beams > 1, "num_beams of 2 or more"),
    ):
        unused = [name for name in names if name in options and not used]
        if unused:
            raise UserError(f"{unused[0]} changes nothing without {needed}: give that too, or leave it out")
    if beams > 1 and (samples or "streamer" in options):
        raise UserError(f"num_beams is {beams}: leave out {'do_sample' if samples else 'streamer'}, or beams")
    for name, (is_valid, valid) in SAMPLING_OPTIONS.items():
        if name in options and not is_valid(options[name]):
            raise UserError(f"{name} is {options[name]}: give {valid}")


def _batches_to_answer(
    model: PreTrainedModel,
    layouts: Sequence[Layout],
    budgets: Sequence[int],
    batch_size: int,
    options: Mapping[str, Any],
) -> Iterator[list[int]]:
    """Yield indices in batches that can be answered together.

    A streamer takes one row. Beams share one budget, since a search cannot be continued.
    """
    if "streamer" in options:
        yield from ([index] for index in range(len(layouts)))
        return
    order = range(len(layouts))
    if options.get("num_beams", 1) > 1:
        groups = [list(group) for _, group in groupby(sorted(order, key=budgets.__getitem__), budgets.__getitem__)]
    else:
        groups = [list(order)]
    for group in groups:
        for batch in batches([layouts[index] for index in group], batch_size, model):
            yield [group[index] for index in batch]


@torch.inference_mode()
def thoughts_of(
    checkpoint: Checkpoint, questions: Sequence[str], *, thoughts: int | None = None, batch_size: int = 64
) -> Tensor:
    """The thoughts of every question, [questions, thoughts, H] on the CPU: the states that the model is fed.

    UserError if there are none.
    """
    layouts = thinking_layouts(checkpoint, questions, thoughts)
    found: dict[int, Tensor] = {}
    for indices in batches(layouts, batch_size, checkpoint.model):
        batch = collate([layouts[index] for index in indices], checkpoint.tokenizer.pad_token_id)
        states = roll(checkpoint.model, batch.to(checkpoint.model.device)).states
        found |= zip(indices, states[:, :-1].cpu(), strict=True)
    return torch.stack([found[index] for index in range(len(layouts))])


def thinking_layouts(checkpoint: Checkpoint, questions: Sequence[str], thoughts: int | None) -> list[Layout]:
    """The questions laid out; UserError if they have no thoughts: none in the checkpoint's row, or `thoughts` is 0."""
    if checkpoint.frame.slot is not Slot.STATE:
        raise UserError(f"the row {checkpoint.row} has no continuous thoughts: give the checkpoint of a row that has")
    layouts = [checkpoint.layout(question, thoughts) for question in questions]
    if not layouts[0].thoughts:
        raise UserError("the number of thoughts is 0: give 1 or more")
    return layouts


def batches(layouts: Sequence[Layout], batch_size: int, model: PreTrainedModel) -> Iterator[list[int]]:
    """Indices in batches of prompts of like length, to pad little; of equal length where the model's plan has it so.

    The layouts have equally many thoughts.
    """
    lengths = [len(layout.prompt) for layout in layouts]
    order = sorted(range(len(layouts)), key=lambda index: lengths[index])
    groups: Iterable[Iterable[int]] = [order]
    if batch_plan(model).together is Together.SAME_SHAPE:
        groups = (group for _, group in groupby(order, key=lambda index: lengths[index]))
    for group in groups:
        indices = list(group)
        for first in range(0, len(indices), batch_size):
            yield indices[first : first + batch_size]


@dataclass(frozen=True)
class Prefix:
    """What `generate` continues: ids and mask [B, C], and a KV cache of the first columns, at most C - 1; None where
    all is yet to be computed.

    Ids at the columns of thoughts are never read.
    """

    ids: Int[Tensor, "B C"]
    mask: Bool[Tensor, "B C"]
    cache: DynamicCache | None

    def extend(self, written: Tensor, rows: list[int]) -> Prefix:
        """Return the given rows with the ids [B, W] that were written behind them."""
        chosen = torch.tensor(rows, device=written.device)
        ids = torch.cat([self.ids, written], dim=1)[chosen]
        mask = torch.cat([self.mask, torch.ones_like(written, dtype=torch.bool)], dim=1)[chosen]
        return Prefix(ids, mask, None if self.cache is None else fork_cache(self.cache, chosen))


def read_prefix(model: PreTrainedModel, batch: Batch, filler: int, fed: Tensor | None = None) -> Prefix:
    """Run prompts and thoughts, and return what the answer continues. `filler` is any id of the vocabulary."""
    # The prompt goes through the thought loop in any case: generate()'s own masks leave rows of its padding empty.
    if batch.prompt.shape[1] and (batch.thoughts.any() or not batch_plan(model).refusal):
        latent = roll(model, batch, fed)
        # generate() skips as many ids as the cache holds; those at the thoughts are never read.
        thoughts = torch.full_like(latent.mask[:, batch.prompt.shape[1] :], filler, dtype=torch.long)
        ids = torch.cat([batch.prompt, thoughts, batch.rest], dim=1)
        return Prefix(ids, torch.cat([latent.mask, batch.rest_mask], dim=1), latent.cache)
    ids = torch.cat([batch.prompt, batch.rest], dim=1)
    mask = torch.cat([batch.prompt_mask, batch.rest_mask], dim=1)
    return Prefix(ids, mask, None)


def generate_ids(model: PreTrainedModel, prefix: Prefix, **options: Any) -> Tensor:
    """Return new ids [B, W] from the model's `generate`, greedy unless its options say otherwise.

    The options given are all: none of the model's own generation settings is used, where it stands in a `Checkpoint`.
    The cache grows in place, but for beams.
    """
    streamer = options.pop("streamer", None)
    config = GenerationConfig(**{"do_sample": False, "use_cache": True, **options})
    cache, beams = prefix.cache, options.get("num_beams", 1)
    if cache is not None and beams > 1:  # `generate` repeats the ids alone.
        cache = fork_cache(cache, torch.arange(len(prefix.ids), device=prefix.ids.device).repeat_interleave(beams))
    output: Tensor = model.generate(
        input_ids=prefix.ids,
        attention_mask=prefix.mask.long(),
        generation_config=config,
        streamer=streamer,
        **{cache_argument(GenerationMixin.prepare_inputs_for_generation): cache},
    )
    return output[:, prefix.ids.shape[1] :]


@torch.inference_mode()
def _generate(
    checkpoint: Checkpoint, layouts: Sequence[Layout], budgets: Sequence[int], fed: Tensor | None, options: Any
) -> list[list[int]]:
    """Return the written tokens of each layout, eos and what follows it cut off.

    Every row writes up to its own budget, whatever stands beside it. A row that has written all of it leaves the batch,
    since a table of positions has none for what `generate` would fill it up with; the others go on over their cache.
    """
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    prefix = read_prefix(model, collate(layouts, tokenizer.pad_token_id).to(model.device), tokenizer.pad_token_id, fed)
    eos: int = tokenizer.eos_token_id
    # What follows eos is cut off, so any id may fill it; at the model's own, transformers warns of a missing mask.
    options = {**options, "eos_token_id": eos, "pad_token_id": int(tokenizer.pad_token_id == 0)}
    if "temperature" in options:
        options["temperature"] = float(options["temperature"])  # transformers refuses whole numbers.
    written: list[list[int]] = [[] for _ in layouts]
    rows = list(range(len(layouts)))
    while rows:
        steps = min(budgets[row] - len(written[row]) for row in rows)
        new = generate_ids(model, prefix, max_new_tokens=steps, **options)
        ids = new.tolist()
        for row, more in zip(rows, ids, strict=True):
            written[row] += _until(more, eos)
        going = [i for i, row in enumerate(rows) if eos not in ids[i] and len(written[row]) < budgets[row]]
        rows = [rows[i] for i in going]
        if rows:
            prefix = prefix.extend(new, going)
    return written


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids
