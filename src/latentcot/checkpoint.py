"""Models on disk: start from a pretrained one or from scratch, save one that can think, load it again.

A checkpoint is an ordinary folder of its model class (safetensors, stock config and tokenizer). What makes it
think is the block `latentcot` in its config.json: the row's frame, the number of thoughts, the answer's budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import huggingface_hub
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from latentcot.checkpoint_files import (
    BLOCK,
    code_needs_leave,
    quiet_library,
    read_block,
    read_config,
    read_model,
    read_tokenizer,
    require_block,
    require_complete,
    require_savable,
    require_sound,
)
from latentcot.config import ModelConfig, Scratch
from latentcot.core import Frame, Layout, Slot, UserError
from latentcot.data.hub import answers
from latentcot.runs.manifest import write_manifest
from latentcot.think import prove_exact
from latentcot.tokens import Markers, add_markers, encode_questions, word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Saving and loading take a moment here; the run's own bar is the one to watch.
transformers.utils.logging.disable_progress_bar()
# Its retries of a hub that cannot be reached are no news: the error that follows says it.
huggingface_hub.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]

_LEAVE = "set model.trust_remote_code"
_MEND = "Give a hub id or a local folder (latentcot fetch brings small models where no hub can be reached)"


@dataclass
class Checkpoint:
    """A model with its tokenizer, and what it takes to answer a question with it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    frame: Frame
    thoughts: int
    row: str
    max_new_tokens: int = 128
    named_steps: bool = False
    """Whether the steps it was trained with are names in one line (`data convert --steps named`), not facts."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What it was validated in, and is evaluated in unless asked otherwise: bf16 is automatic mixed precision."""

    def __post_init__(self) -> None:
        """Leave the model no generation settings of where it came from: answers are the checkpoint's own."""
        self.model.generation_config = GenerationConfig(
            eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id
        )

    @property
    def positions(self) -> int | None:
        """Longest sequence that the model has positions for; None if there is no such limit."""
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit

    def budget(self, layout: Layout, limit: int) -> int:
        """Return how many tokens may be written after a question's layout: `limit`, or fewer near the last position."""
        return limit if self.positions is None else min(limit, self.positions - len(layout))

    def layout(self, question: str, thoughts: int | None = None) -> Layout:
        """A question laid out for answering, with the checkpoint's own number of thoughts unless one is given.

        UserError if the question is empty, or leaves no room for an answer in the model's positions.
        """
        question, thoughts = question.strip(), self.thoughts if thoughts is None else thoughts
        if not question:
            raise UserError("the question is empty: write one")
        layout = self.frame.layout(encode_questions([question], self.tokenizer)[0], thoughts)
        if self.positions is not None and len(layout) >= self.positions:
            raise UserError(
                f"the question and its {thoughts} thoughts need {len(layout)} positions and the model "
                f"has {self.positions} for them and the answer: shorten the question or think less ({question!r:.60})"
            )
        return layout

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the checkpoint; `load` and every Hugging Face tool read it. A manifest of its files comes last.

        `weights` are written in place of the model's own, where those are spread over processes. UserError, with
        nothing written, if a tensor is empty or not finite.
        """
        require_savable(self.model.state_dict() if weights is None else weights)
        block: dict[str, Any] = {"row": self.row, "thoughts": self.thoughts, "max_new_tokens": self.max_new_tokens}
        block |= {"named_steps": self.named_steps, "precision": self.precision, "frame": asdict(self.frame)}
        setattr(self.model.config, BLOCK, block)
        self.model.save_pretrained(folder, state_dict=weights)
        self.tokenizer.save_pretrained(folder)
        write_manifest(folder)


def load(folder: str | Path, device: str | None = None, *, trust_remote_code: bool = False) -> Checkpoint:
    """Load a checkpoint that `train` wrote: its folder, or a run's folder (then its best checkpoint).

    `device` defaults to a GPU where there is one. `trust_remote_code` runs the code in the folder of a model whose base
    came with its own. UserError if the folder is missing, holds no thinking model, or needs such code without leave.
    """
    path = Path(folder)
    best = path / "best"
    if best.is_dir() and ((best / "config.json").exists() or not (path / "config.json").exists()):
        path = best
    require_sound(path)
    block = read_block(path)
    with code_needs_leave(str(path), "load with trust_remote_code=True, on the command line --trust-remote-code"):
        stock = read_config(path, trust_remote_code)
        model = read_model(
            path,
            stock,
            dtype=torch.float32,
            generation_config=GenerationConfig(),
            trust_remote_code=trust_remote_code,
        )
        tokenizer = read_tokenizer(path, block, model, trust_remote_code)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    frame = block["frame"]
    frame = Frame(Slot(frame["slot"]), tuple(frame["open"]), tuple(frame["close"]), frame["pause"])
    # Checkpoints of before say neither whether steps are named nor the precision: they were evaluated in fp32.
    named, precision = block.get("named_steps", False), block.get("precision", "fp32")
    prove_exact(model, frame.layout((), block["thoughts"]))
    return Checkpoint(
        model, tokenizer, frame, block["thoughts"], block["row"], block["max_new_tokens"], named, precision
    )


def start(config: ModelConfig, texts: Iterable[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Markers]:
    """The model, its tokenizer and its markers that a run starts from. `texts` feed a word-level tokenizer."""
    tokenizer = start_tokenizer(config, texts)
    if config.base:
        model = _pretrained(config)
    else:
        model = from_scratch(config.scratch, config.rope_theta, **_tokens(tokenizer))
    _require_causal(model, config.base or config.scratch.architecture)
    if config.thought_size is not None:
        _resize_thoughts(model, config.thought_size)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # A row without markers has only pushed them away from what it wrote, as any token that is never right.
    block = getattr(model.config, BLOCK, None)
    if block is not None:
        require_block(block, Path(str(config.base)) / "config.json")
    unused = block is not None and block["frame"]["slot"] == Slot.NONE
    markers = add_markers(tokenizer, model, config.markers_like, anew=unused)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer, markers


def start_tokenizer(config: ModelConfig, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """The tokenizer that a run starts from, without markers; UserError if it cannot be had or has no eos token."""
    if config.base is None and config.scratch.tokenizer == "words":
        return word_tokenizer(texts)
    field, name = ("base", _folder(config.base)) if config.base else ("scratch.tokenizer", config.scratch.tokenizer)
    try:
        with code_needs_leave(name, _LEAVE):
            tokenizer = AutoTokenizer.from_pretrained(
                name, trust_remote_code=config.trust_remote_code, padding_side="left", **_from_cache(name)
            )
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"model.{field} {name!r} cannot be loaded: {_first_line(error)} {_MEND}") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.{field} {name!r}: its tokenizer has no eos token: give it one")
    return tokenizer


def _pretrained(config: ModelConfig) -> PreTrainedModel:
    name = _folder(str(config.base))
    try:
        cached = _from_cache(name)
        with code_needs_leave(name, _LEAVE):
            stock = AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code, **cached)
        require_thinker(stock, name)
        _turn_by(stock, config.rope_theta)
        with quiet_library():
            model, report = AutoModelForCausalLM.from_pretrained(
                name,
                config=stock,
                output_loading_info=True,
                dtype=torch.float32,
                use_safetensors=True,
                generation_config=GenerationConfig(),  # None of the base's own is read.
                trust_remote_code=config.trust_remote_code,
                **cached,
            )
    except UserError:
        raise
    except Exception as error:  # Each library raises its own kinds for a damaged file.
        raise UserError(f"model.base {name!r} cannot be loaded: {_first_line(error)} {_MEND}") from error
    require_complete({**report, "unexpected_keys": []}, f"model.base {name!r}")
    return model


def _folder(name: str) -> str:
    """The checkpoint folder that a name means: a run's folder means its best.

    UserError for a path to nothing, and for a checkpoint whose files are damaged.
    """
    if (Path(name) / "best" / "config.json").is_file():
        name = str(Path(name) / "best")
    if Path(name).is_dir():
        require_sound(Path(name))
    if (Path(name) / "config.yaml").is_file():
        raise UserError(f"model.base {name}: a run that has kept no checkpoint yet: finish it, or give another")
    # On the hub are NAME and OWNER/NAME alone.
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not Path(name).is_dir():
        raise UserError(
            f"model.base {name}: no such folder: check the path (the first lines of a recipe say what it starts from), "
            "or give a hub id"
        )
    return name


@cache
def _from_cache(name: str) -> dict[str, bool]:
    """Go by the cache alone where the hub does not answer at once; the library itself tries again for a minute."""
    return {"local_files_only": not Path(name).is_dir() and not answers(name, "model")}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    # The stock defaults of special tokens point past a small vocabulary.
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer), **special}


def from_scratch(scratch: Scratch, rope_theta: float | None = None, **tokens: int | None) -> PreTrainedModel:
    """A model with random weights. `tokens` are configuration fields: vocab_size and the ids of special tokens."""
    config = _architecture(scratch, **tokens)
    _turn_by(config, rope_theta)
    require_thinker(config, scratch.architecture)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if scratch.scale_thoughts:
        _scale_thoughts(model, 1.0, "model.scratch.scale_thoughts")
    return model


@torch.no_grad()
def _scale_thoughts(model: PreTrainedModel, size: float, option: str) -> float:
    """Scale the final norm so that its output, which is what a thought is, is `size` times as large as token embeddings
    are, and return the factor that it took.

    UserError, which names the `option`, if the model has no such norm.
    """
    norm, factor = final_norm(model), size / _size_of_thoughts(model)
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if norm is not None and weight is not None:
        kept = weight.clone()
        weight.zero_()
        bare = norm(torch.arange(len(weight), dtype=weight.dtype, device=weight.device))
        # Gemma and others store the weight less one: with a weight of nought they still let something through.
        less = 0.0 if torch.equal(bare, torch.zeros_like(bare) if bias is None else bias) else 1.0
        weight.copy_((kept + less) * factor - less)
        if bias is not None:
            bias.mul_(factor)
    if weight is None or not 0.9 < _size_of_thoughts(model) / size < 1.1:
        raise UserError(f"{option}: {model.config.model_type} has no final norm to scale: leave it out")
    return factor


@torch.no_grad()
def _resize_thoughts(model: PreTrainedModel, size: float) -> None:
    """Thoughts `size` times as large as token embeddings, and the same logits; UserError if there is no final norm."""
    factor, head = _scale_thoughts(model, size, "model.thought_size"), model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight / factor)  # Another one than the token embeddings' from now on.
    model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False


def final_norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm after the last layer; None for a model that has none."""
    norms = [
        module
        for path, module in model.base_model.named_modules()
        if "norm" in type(module).__name__.lower() and not any(part.isdigit() for part in path.split("."))
    ]
    return norms[-1] if norms else None


@torch.no_grad()
def _size_of_thoughts(model: PreTrainedModel) -> float:
    """Norm of last hidden states over the norm of token embeddings."""
    ids = torch.arange(2, min(model.config.vocab_size, 34))[:, None]
    output = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    embeddings = model.get_input_embeddings()(ids)
    return float(output.hidden_states[-1].norm(dim=-1).mean() / embeddings.norm(dim=-1).mean())


def _architecture(scratch: Scratch, **tokens: Any) -> PretrainedConfig:
    if scratch.config is not None:
        if not scratch.config.is_file():
            raise UserError(f"model.scratch.config {scratch.config}: no such file")
        return AutoConfig.from_pretrained(scratch.config, **tokens)
    sizes: dict[str, Any] = {
        "hidden_size": scratch.width,
        "num_hidden_layers": scratch.layers,
        "num_attention_heads": scratch.heads,
        "num_key_value_heads": scratch.heads,
        "head_dim": scratch.width // scratch.heads,
        "intermediate_size": 4 * scratch.width,
        "ffn_dim": 4 * scratch.width,
        "word_embed_proj_dim": scratch.width,
        "max_position_embeddings": scratch.positions,
        "initializer_range": scratch.initializer_range,
        "tie_word_embeddings": scratch.tie_embeddings,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout", "attention_dropout"), scratch.dropout),
        "hidden_dropout": scratch.dropout,
    }
    try:
        known = AutoConfig.for_model(scratch.architecture, **tokens)
    except ValueError as error:
        raise UserError(
            f"model.scratch.architecture {scratch.architecture!r} is not a model type of transformers: "
            "give gpt2, gpt_neox, llama, qwen2, qwen3, gemma3_text, opt, ..."
        ) from error
    if getattr(known, "activation_function", None) == "gelu_new":
        sizes["activation_function"] = "gelu_pytorch_tanh"  # The same function in one kernel instead of eight.
    _require_fields(known, scratch.fields)
    # Architectures name their sizes differently; each takes those that it has.
    sizes = {key: value for key, value in sizes.items() if hasattr(known, key)}
    try:
        return AutoConfig.for_model(scratch.architecture, **{**sizes, **scratch.fields, **tokens})
    except Exception as error:  # Configurations check their fields, each in its own way.
        said = " ".join(str(error).split())
        raise UserError(f"model.scratch: {scratch.architecture} with fields {scratch.fields}: {said}") from error


def _require_fields(known: PretrainedConfig, fields: Iterable[str]) -> None:
    """UserError for a field that the architecture's configuration lacks."""
    for name in fields:
        # Attention of Llama's kind reads head_dim, whether its configuration has it or not.
        if not hasattr(known, name) and name != "head_dim":
            near = get_close_matches(name, known.to_dict(), n=3)
            mend = f"did you mean {' or '.join(near)}?" if near else "see its page in transformers' documentation"
            raise UserError(f"model.scratch.fields: {known.model_type} has no {name}: {mend}")


def _turn_by(config: PretrainedConfig, rope_theta: float | None) -> None:
    """Set the base of rotary positions, if one is given; UserError if the model has none."""
    if rope_theta is None:
        return
    text = config.get_text_config()
    rotary, base = getattr(text, "rope_parameters", None), {"rope_theta": rope_theta}
    if not rotary:
        raise UserError(
            f"model.rope_theta is {rope_theta}, and {config.model_type} has no rotary positions: leave it out"
        )
    # One mapping, or one for each kind of layer, beside which transformers 5.10 may have stray values of its own; what
    # else is in it (as the rotated share of a head) stays.
    kinds = {kind: {**each, **base} for kind, each in rotary.items() if isinstance(each, dict)}
    text.rope_parameters = {**rotary, **(kinds or base)}


@torch.no_grad()
def _require_causal(model: PreTrainedModel, name: str) -> None:
    """UserError if a token changes what stands before it: some encoders load as causal models."""
    ids = torch.tensor([[0, 1], [0, 2]], device=model.device)
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0]
    if not torch.allclose(logits[0], logits[1], atol=1e-5):
        raise UserError(f"{name}: the model looks at later tokens, so it is no causal language model: give one that is")


def require_thinker(config: PretrainedConfig, name: str) -> None:
    """UserError unless models of this configuration can think: a causal decoder with a KV cache."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if config.is_encoder_decoder:
        raise UserError(f"{name}: an encoder-decoder model cannot think this way: give a causal language model")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not hasattr(config, "auto_map"):
        raise UserError(f"{name}: a {config.model_type} model is no causal language model: give one that is")
    stock = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if stock is not None and not hasattr(config.get_text_config(), "use_cache"):
        raise UserError(f"{name}: a {config.model_type} model keeps no KV cache for thoughts: give one that does")
