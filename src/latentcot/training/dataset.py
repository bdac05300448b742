"""Training examples, laid out anew for every epoch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from latentcot.batch import collate
from latentcot.core import Example, Ids, Layout, Sample, UserError
from latentcot.curriculum import Curriculum, draw_stage, stage_at
from latentcot.data.prosqa import CONCEPTS, NAMES, frontiers
from latentcot.data.records import reshuffle_facts
from latentcot.methods import Method
from latentcot.tokens import Markers, encode_questions
from latentcot.training.samples import prepare

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def positions_of(batch: Mapping[str, Any]) -> int:
    """Positions of a collated batch, without padding."""
    return sum(int(batch[name].sum()) for name in ("prompt_mask", "thoughts", "rest_mask"))


@dataclass
class Fed:
    """What training has fed to the model in this process."""

    positions: int = 0
    columns: int = 0
    """The same with padding."""
    waited: float = 0.0
    """Seconds that training waited for its batches."""

    def count(self, batch: Mapping[str, Any]) -> None:
        """Add a collated batch."""
        thoughts = batch["thoughts"]
        self.positions += positions_of(batch)
        self.columns += batch["prompt"].numel() + len(thoughts) * int(thoughts.max()) + batch["rest"].numel()

    @property
    def padding(self) -> float:
        """Share of the columns that were padding."""
        return 1 - self.positions / self.columns if self.columns else 0.0


class TrainingSet(Dataset[Layout]):
    """Tokenized once; a stage change lays the tokens out differently. Item i of epoch e depends on (seed, e, i) alone,
    so it is the same whatever the order, the number of processes, or an interruption."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        markers: Markers,
        method: Method,
        curriculum: Curriculum,
        *,
        seed: int = 0,
        reshuffle: bool = False,
        rename: bool = False,
        teach: bool = False,
        frontier: bool = False,
    ) -> None:
        self.examples, self.tokenizer, self.markers = examples, tokenizer, markers
        self.method, self.curriculum = method, curriculum
        self.seed, self.reshuffle = seed, reshuffle
        self.kinds = [_tokens_of(names, tokenizer, "rename") for names in (NAMES, CONCEPTS)] if rename else []
        self.teach = teach
        self.frontiers = _frontiers(examples, tokenizer) if frontier else []
        self.samples = prepare(examples, tokenizer)
        self.plan = method.plan(curriculum, int(self.samples.chains().max()))
        self.epoch, self.stage = 0, stage_at(self.plan, 0)
        self.fed = Fed()

    def move(self, epoch: int, stage: int) -> None:
        """Move to an epoch and the stage that it belongs to."""
        self.epoch, self.stage = epoch, stage

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Layout:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Layout]:
        """The layouts of a batch; PyTorch's loader asks for whole batches where a data set can give them."""
        randoms = [random.Random(f"{self.seed}/{self.epoch}/{index}") for index in indices]
        stages = [self.plan[draw_stage(self.plan, self.stage, self.curriculum, rng)] for rng in randoms]
        samples = [self.samples[index] for index in indices]
        if self.reshuffle:
            texts = [reshuffle_facts(self.examples[i].question, rng) for i, rng in zip(indices, randoms, strict=True)]
            questions = encode_questions(texts, self.tokenizer)
            samples = [replace(sample, question=ids) for sample, ids in zip(samples, questions, strict=True)]
        if self.frontiers:
            samples = [replace(s, held=self.frontiers[i]) for i, s in zip(indices, samples, strict=True)]
        if self.kinds:
            samples = [_rename(sample, self.kinds, rng) for sample, rng in zip(samples, randoms, strict=True)]
        layouts = [
            self.method.layout(sample, stage, self.markers, rng)
            for sample, stage, rng in zip(samples, stages, randoms, strict=True)
        ]
        if self.teach:
            layouts = [self._taught(layout, sample) for layout, sample in zip(layouts, samples, strict=True)]
        return layouts

    def _taught(self, layout: Layout, sample: Sample) -> Layout:
        """The layout with what each of its continuous thoughts should hold: the tokens of the step that it replaces."""
        if layout.thought_token is not None or not self.curriculum.thoughts_per_step:
            return layout
        steps = [step for step in sample.held or sample.steps for _ in range(self.curriculum.thoughts_per_step)]
        return replace(layout, taught=tuple(steps[: layout.thoughts]))

    def lengths(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of every question and of its target at the current stage, where mixing and smoothing are left out."""
        return self.samples.questions(), self.samples.targets(self.plan[self.stage])

    def require_room(self, positions: int | None) -> None:
        """UserError unless every example fits the model's positions at every stage."""
        if positions is None:
            return
        frame, thoughts = self.method.frame(self.markers), max(stage.thoughts for stage in self.plan)
        most = self.samples.lengths() + len(frame.open) + thoughts + len(frame.close)
        for index in (most > positions).nonzero()[0].tolist():
            for number, stage in enumerate(self.plan):
                length = len(self.method.layout(self.samples[index], stage, self.markers, random.Random(0)))
                if length > positions:
                    raise UserError(
                        f"record {index + 1} needs {length} positions at stage {number} and the model has {positions}: "
                        "leave it out, lower curriculum.thoughts_per_step, or take a model with more positions"
                    )


def _tokens_of(names: Sequence[str], tokenizer: PreTrainedTokenizerBase, option: str) -> Ids:
    """The token of each name; UserError unless it is one token, and the same at the start of a line and within it."""
    forms = [[name, f" {name}"] for name in names]
    tokens = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
    for name, (alone, within) in zip(names, tokens, strict=True):
        if alone != within or len(alone) != 1 or alone[0] == tokenizer.unk_token_id:
            raise UserError(
                f"data.{option}: {name} is no token of this tokenizer: train a word-level model from scratch on "
                "ProsQA, or leave it out"
            )
    return tuple(alone[0] for alone, _ in tokens)


def _frontiers(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[tuple[Ids, ...]]:
    """Of each example, the tokens of the names that lie 0, 1, 2, ... facts from the asked entity."""
    found = []
    for number, example in enumerate(examples, 1):
        try:
            found.append(frontiers(example.question))
            if len(example.steps) > 1 and not example.steps[1].startswith(" "):
                raise UserError("its steps are not names in one line: write it with `data convert --steps named`")
        except UserError as error:
            raise UserError(f"data.frontier: record {number} of data.train: {error}") from error
    names = sorted({name for sets in found for names in sets for name in names})
    tokens = dict(zip(names, _tokens_of(names, tokenizer, "frontier"), strict=True))
    return [tuple(tuple(tokens[name] for name in names) for names in sets) for sets in found]


def _rename(sample: Sample, kinds: Sequence[Ids], rng: random.Random) -> Sample:
    """The sample with the tokens of each kind exchanged among themselves, the same everywhere."""
    table = {old: new for kind in kinds for old, new in zip(kind, rng.sample(kind, len(kind)), strict=True)}
    parts = (sample.question, sample.answer, *sample.steps, *sample.held)
    question, answer, *rest = (tuple(table.get(token, token) for token in part) for part in parts)
    return Sample(question, tuple(rest[: len(sample.steps)]), answer, tuple(rest[len(sample.steps) :]))


class Collator:
    """Layouts to the tensors of a `Batch`, as the mapping that the Trainer moves to its device."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, layouts: Sequence[Layout]) -> dict[str, Any]:
        return dict(vars(collate(layouts, self.pad)))
