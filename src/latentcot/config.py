"""Everything a run can be told: defaults < recipe < flags. The resolved YAML is saved beside every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from latentcot.core import UserError
from latentcot.curriculum import Curriculum
from latentcot.data.columns import Columns
from latentcot.data.filters import Filter
from latentcot.methods import Coconut, Method
from latentcot.ranges import Count, CountOrZero, Positive, PositiveOrZero, Range, Seed, ShareBelowOne, require_ranges

Rows = Annotated[int, Range(1, 1_000_000)]


@dataclass(frozen=True)
class Scratch:
    """A model from scratch: a stock architecture of transformers at a size of your own, and its tokenizer."""

    architecture: str = "gpt2"
    """Model type in transformers: gpt2, gpt_neox, llama, qwen2, qwen3, gemma3_text, opt, ..."""
    layers: Count = 12
    heads: Count = 12
    width: Count = 768
    """Hidden size."""
    positions: Count = 1024
    """Longest sequence, thoughts included."""
    dropout: ShareBelowOne = 0.1
    initializer_range: Positive = 0.02
    """Standard deviation of the initial weights. Narrow models learn sooner with more (about width ** -0.5)."""
    tie_embeddings: bool = True
    """Read and write tokens with the same embeddings. A thought that is close to a token then means that token."""
    scale_thoughts: bool = False
    """Start with thoughts as large as token embeddings, by the weight of the final norm. Stock initial weights make
    them about ten times larger, so that what a layer adds to a thought hardly shows, and learning to think waits."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the architecture's own configuration, by their names there, as in no_rope_layers: [1, 0]:
    numbers, texts, true, false, null, and lists and maps of these."""
    config: Path | None = None
    """A config.json to build from instead of the fields above (its vocabulary size is replaced)."""
    tokenizer: str = "words"
    """words: one token a word, built from the training data; else a tokenizer's hub id or folder."""

    def __post_init__(self) -> None:
        require_ranges(Scratch, vars(self), "model.scratch.")
        _require_plain(self.fields, "model.scratch.fields")
        if self.width % self.heads:
            raise UserError(f"model.scratch.width {self.width} must be a multiple of model.scratch.heads {self.heads}")


@dataclass(frozen=True)
class ModelConfig:
    """The model to start from: `base`, or `scratch` where there is none."""

    base: str | None = None
    """Hub id or local folder of any causal LM, or an earlier run's checkpoint."""
    scratch: Scratch = field(default_factory=Scratch)
    markers_like: str = "<<"
    """The text whose first token the markers' embeddings start as a copy of (pretrained models)."""
    thought_size: Positive | None = None
    """Start with thoughts this many times as large as token embeddings, and with the same logits: the head, untied,
    takes back what is taken from the final norm. A base that has learnt to write its steps says a token again when it
    is fed back in full size; with about 0.3 what its layers add shows. Left out: thoughts are as large as they are."""
    rope_theta: Annotated[float, Range(1, without_least=True)] | None = None
    """Base of rotary positions to train with, of a model that has them; its own if left out. Small models see single
    places apart sooner with about 100, and need much more to find something far away again."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Leave it off unless you have read that code."""

    def __post_init__(self) -> None:
        require_ranges(ModelConfig, vars(self), "model.")


@dataclass(frozen=True)
class DataConfig:
    """What to train on and to validate with."""

    train: str | list[str] | None = None
    """A source or a list of them: a file, a pattern, a set such as gsm8k-aug:train, owner/name on the hub."""
    valid: str | list[str] | None = None
    """The same, for validation."""
    columns: Columns = field(default_factory=Columns)
    filter: Filter = field(default_factory=Filter)
    """Which training records to keep."""
    skip_faults: CountOrZero = 0
    """Leave out and count at most so many faulty records, of training and validation together; one more stops."""
    train_limit: Count | None = None
    """Use only the first so many training records that the filter keeps."""
    valid_limit: Count | None = None
    reshuffle: bool = False
    """Put the facts of every question in a new order in every epoch."""
    rename: bool = False
    """Give the individuals and concepts of ProsQA other names in every epoch, each drawn from all there are, so that no
    question is met twice. For word-level models."""
    frontier: bool = False
    """What train.thought_loss teaches ProsQA's thoughts: all names that lie so many facts from the asked entity, each
    as likely, instead of the one that a step names. For steps made by `data convert --steps named`."""

    def __post_init__(self) -> None:
        require_ranges(DataConfig, vars(self), "data.")


@dataclass(frozen=True)
class TrainConfig:
    """The optimizer and the loop. Defaults are the paper's, but for group_by_length."""

    lr: Positive = 1e-4
    weight_decay: PositiveOrZero = 0.01
    decay: Literal["all", "matrices"] = "all"
    """What weight decay pulls at: every parameter, as published, or weight matrices alone (no embedding, bias or norm).
    From scratch, strong decay of matrices brings small models to look things up sooner; of embeddings, later."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, as published; muon: Muon for the weight matrices inside the layers and AdamW for the rest, at one learning
    rate. From scratch, looking things up comes later with muon, and looking up several at once far sooner. Not under
    FSDP2."""
    beta2: ShareBelowOne = 0.999
    """AdamW's second beta: how slowly its measure of each gradient's size forgets."""
    batch_size: Rows = 128
    """Examples in one update, over all devices."""
    micro_batch: Rows | None = None
    """Examples that one device takes at once, at most (the rest is accumulated); its whole share if left out."""
    group_by_length: bool | Literal["within_updates"] = True
    """true: form updates of examples of like length, which pads little, but an update then holds hardly more than one
    length of chain, where published updates are drawn at random. within_updates: draw the examples of an update at
    random and sort them within it, so that micro-batches pad less. false: draw at random and do not sort."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Of the learning rate, after the warm-up."""
    warmup_steps: CountOrZero = 0
    """Updates over which the learning rate rises from 0."""
    clip: PositiveOrZero = 0.0
    """Largest gradient norm; 0 does not clip."""
    thought_loss: PositiveOrZero = 0.0
    """Weight of teaching each thought, through the LM head, the tokens of the step that it replaces, each as likely:
    the mean divergence over all thoughts taught is added to the loss. 0, as published: thoughts learn from the target
    alone. Rows without continuous thoughts have none to teach."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is automatic mixed precision over fp32 weights."""
    eval_every: Count = 1
    """Epochs between validations; the last epoch of a stage is always validated."""
    eval_batch_size: Count = 64
    max_new_tokens: Count = 128
    """Budget of written tokens for an answer (the paper: 64 on GSM8k, 128 elsewhere)."""
    save_steps: Count | None = None
    """Updates between checkpoints to resume from; once an epoch if left out."""
    keep_stages: bool = False
    """Keep the checkpoint at the end of every stage, in stage-0, stage-1, ..."""
    report_to: str = "none"
    """Trackers of transformers: tensorboard, wandb, trackio, ..."""

    def __post_init__(self) -> None:
        require_ranges(TrainConfig, vars(self), "train.")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise UserError(
                f"train.batch_size {self.batch_size} must be a multiple of train.micro_batch {self.micro_batch}"
            )


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    method: Method = field(default_factory=Coconut)
    """The row of Table 1, by class name (CoT, NoCoT, ICoT, PauseToken, Coconut, WithoutCurriculum, WithoutThought,
    PauseAsThought, PauseMultipass) or by the dotted name of a class of your own."""
    curriculum: Curriculum = field(default_factory=Curriculum)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_ranges(RunConfig, vars(self), "")
        if self.data.frontier and not self.train.thought_loss:
            raise UserError("data.frontier is what train.thought_loss teaches: give that a weight (1), or leave it out")


def _require_plain(value: Any, name: str) -> None:
    """UserError, with the place, unless `value` is numbers, texts, booleans, null, or lists and maps of these."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            _require_plain(each, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            _require_plain(each, f"{name}[{number}]")
    elif not isinstance(value, bool | int | float | str | None):
        raise UserError(f"{name} is {value!r}: give numbers, texts, true, false, null, or lists and maps of these")


def to_mapping(config: RunConfig) -> dict[str, Any]:
    """The configuration as the plain mapping that a recipe's YAML holds."""
    kind = type(config.method)
    mapping: dict[str, Any] = _plain(asdict(config))
    mapping["method"] = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": asdict(config.method)}
    return mapping


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return str(tree) if isinstance(tree, Path) else tree


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings as one mapping, with dotted keys."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for key, sub in tree.items() for k, v in flat(sub, f"{prefix}.{key}" if prefix else key).items()}
