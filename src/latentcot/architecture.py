"""How rows may share a batch on a model: found by running the thought loop beside a naive reference on that very model.

Architectures differ in what padding and idle columns do to them: a sliding window counts columns, a convolution or a
recurrent state runs through them, positions may be taken from columns. No list of names can keep up with that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from threading import RLock

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from latentcot.batch import collate
from latentcot.core import Batch, Layout, Trace, UserError


class Together(IntEnum):
    """Which rows may share a batch."""

    ANY = 0
    SAME_THOUGHTS = 1
    """Rows with equally many thoughts: no idle columns."""
    SAME_SHAPE = 2
    """Rows that also have equally long prompts and suffixes: no padding at all."""


@dataclass(frozen=True)
class BatchPlan:
    """How a model's batches are run, so that each row gets exactly what it would get alone."""

    together: Together = Together.ANY
    skip_mlp: bool = True
    """Whether the last layer's MLP may be left out at columns that nobody reads."""
    refusal: str | None = None
    """Why this model can have no thoughts; None if it can."""


Run = Callable[[nn.Module, Batch], Trace]
"""The thought loop."""

TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-6}
"""Largest difference that counts as rounding, as a share of the largest value; `COARSE` for other dtypes."""
COARSE = 0.1
SMALL_WINDOW = 64
"""Longest window that the compared rows are made to outgrow."""

_candidate: ContextVar[BatchPlan | None] = ContextVar("candidate", default=None)
_lock = RLock()


def plan_of(network: PreTrainedModel, run: Run) -> BatchPlan:
    """Return the model's plan: found at the first call, in a few passes over three short rows, and kept with the model.

    Says in one line on stderr if rows cannot share batches freely.
    """
    if candidate := _candidate.get():
        return candidate
    found: BatchPlan | None = vars(network).get("batch_plan")
    if found is None:
        with _lock:
            found = vars(network).get("batch_plan") or _find_plan(network, run)
            vars(network)["batch_plan"] = found
    return found


def require_thoughts(network: PreTrainedModel, plan: BatchPlan) -> None:
    """Raise UserError, with the model's name and the reason, if the model can have no thoughts."""
    if plan.refusal:
        name = f"{network.config.model_type} ({type(network).__name__})"
        raise UserError(f"{name}: this model cannot have continuous thoughts: {plan.refusal}: give another model")


def has_window(network: PreTrainedModel) -> bool:
    """Return whether some layer sees only so many of the last columns: a window counts columns and not positions."""
    return bool(_windows(network))


def _windows(network: PreTrainedModel) -> list[int]:
    """Return the sizes of the model's attention windows and chunks, in columns."""
    config = network.config.get_text_config()
    # Architectures whose cache does not know of their windows (GPT-Neo) name them so too.
    fields = {name: size for name, size in vars(config).items() if "window" in name and "layers" not in name}
    if not getattr(config, "use_sliding_window", True):
        fields.pop("sliding_window", None)
    fields["chunk"] = getattr(config, "attention_chunk_size", None)
    sizes = [size for size in fields.values() if isinstance(size, int) and not isinstance(size, bool) and size > 0]
    return sizes if sizes or not any(DynamicCache(config=config).is_sliding) else [SMALL_WINDOW]


def _find_plan(network: PreTrainedModel, run: Run) -> BatchPlan:
    """Return the first plan, from the fastest on, under which the loop equals the reference in logits and gradient."""
    layouts = _rows(network)
    with _undisturbed(network):
        try:
            expected = _values(network, _run_alone(network, layouts), layouts)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Each architecture refuses in its own way.
            return BatchPlan(Together.SAME_SHAPE, False, f"a state is fed in place of a token, and {_explain(error)}")
        batch, reason = collate(layouts, 0).to(network.device), ""
        for plan in _candidates(network):
            token = _candidate.set(plan)
            try:
                trace = run(network, batch)
                found = _values(network, [trace.logits[i, : len(one.target)] for i, one in enumerate(layouts)], layouts)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                reason = _explain(error)
                continue
            finally:
                _candidate.reset(token)
            difference = max(map(_difference, found, expected))
            if difference <= TOLERANCE.get(network.dtype, COARSE):
                _announce(network, plan)
                return plan
            reason = f"logits or gradients differ by {difference:.1%} from those of a pass over the whole sequence"
    return BatchPlan(Together.SAME_SHAPE, False, f"with its cache, {reason}")


def _candidates(network: PreTrainedModel) -> Iterator[BatchPlan]:
    """Yield plans, the fastest first."""
    for together in Together:
        if together or not has_window(network):
            yield BatchPlan(together, skip_mlp=True)
            yield BatchPlan(together, skip_mlp=False)


def _announce(network: PreTrainedModel, plan: BatchPlan) -> None:
    split = {
        Together.SAME_THOUGHTS: "a batch is run by number of thoughts",
        Together.SAME_SHAPE: "only rows of equal lengths and thoughts share a batch, which is slow",
    }
    if plan.together in split:
        print(f"{network.config.model_type}: {split[plan.together]}: padding would count", file=sys.stderr, flush=True)


def _rows(network: PreTrainedModel) -> list[Layout]:
    """Return a long prompt without thoughts, and a short and a long one with two, of unequal targets.

    Together they have idle columns, and padding on the left and on the right; the latter two, padding alone.
    """
    config = network.config.get_text_config()
    window = max((size for size in _windows(network) if size <= SMALL_WINDOW), default=0)
    room = getattr(config, "max_position_embeddings", None) or 2 * SMALL_WINDOW
    long = max(min(max(9, window + 4), room - 6), 4)
    ids = tuple(3 + index % max(config.vocab_size - 4, 1) for index in range(2 * long + 7))
    cue, target, prompts = ids[:1], ids[1:4], ids[4:]
    return [
        Layout(prompts[:long], 0, cue, target),
        Layout(prompts[long : long + 3], 2, cue, target[:2]),
        Layout(prompts[-long:], 2, cue, target),
    ]


def _run_alone(network: PreTrainedModel, layouts: Sequence[Layout]) -> list[Tensor]:
    """Return each row's logits at its target, [T, V]: without cache or padding, all recomputed for every thought."""
    embed, device, logits = network.get_input_embeddings(), network.device, []
    for layout in layouts:
        sequence = embed(torch.tensor([layout.prompt], device=device))
        for _ in range(layout.thoughts):
            output = network(inputs_embeds=sequence.clone(), use_cache=False, output_hidden_states=True)
            sequence = torch.cat([sequence, output.hidden_states[-1][:, -1:]], dim=1)
        rest = torch.tensor([[*layout.cue, *layout.target[:-1]]], device=device)
        output = network(inputs_embeds=torch.cat([sequence, embed(rest)], dim=1), use_cache=False)
        logits.append(output.logits[0, -len(layout.target) :])
    return logits


def _values(network: PreTrainedModel, logits: Sequence[Tensor], layouts: Sequence[Layout]) -> list[Tensor]:
    """Return the logits, and the gradient of the summed loss at one small parameter, if any is trained."""
    values = [one.detach().float() for one in logits]
    parameter = _small_parameter(network)
    if parameter is not None:
        targets = torch.tensor([token for layout in layouts for token in layout.target], device=network.device)
        loss = functional.cross_entropy(torch.cat(list(logits)).float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, parameter)
        values.append(gradient.float())
    return values


def _small_parameter(network: PreTrainedModel) -> nn.Parameter | None:
    """Return a parameter of the first layer, as a norm's weight: a gradient there has come through every state."""
    embeddings = set(network.get_input_embeddings().parameters())
    trained = [
        (parameter.ndim != 1 or not name.endswith("weight"), parameter.numel(), index, parameter)
        for index, (name, parameter) in enumerate(network.named_parameters())
        if parameter.requires_grad and parameter not in embeddings
    ]
    vectors = [entry for entry in trained if not entry[0]]
    return vectors[0][-1] if vectors else min(trained, key=lambda entry: entry[:3], default=(None,))[-1]


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest expected value; infinite where it is not a number."""
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    return difference if difference == difference else float("inf")


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"the model refuses ({type(error).__name__}: {text:.160})"


@contextmanager
def _undisturbed(network: PreTrainedModel) -> Iterator[None]:
    """Run without dropout, in the weights' precision and with gradients; afterwards the model is as it was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(network.device.type, enabled=False),
        ):
            yield
    finally:
        for module in training:
            module.training = True
