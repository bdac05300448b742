"""The thought loop: prompt, then n thoughts, then cue and target, over one KV cache (section 3 of the paper).

It runs on any stock Hugging Face causal LM and is the only implementation: training, evaluation, generation
and probing call it. Every pass goes through the model's own `forward`, never through its embedding layer from
outside, so that wrappers (DDP, FSDP2, adapters) see every parameter where they expect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from latentcot.architecture import BatchPlan, Together, plan_of, require_thoughts
from latentcot.core import NO_LABEL, Batch, Latent, Layout, Trace, UserError
from latentcot.masks import create_masks
from latentcot.speed.attention import quick_attention
from latentcot.speed.cache import cache_argument, fork_cache, growing_cache
from latentcot.speed.dropout import quick_dropout
from latentcot.speed.products import joint_gradients


def think(model: nn.Module, batch: Batch) -> Trace:
    """Run a batch through its prompt, its thoughts and its rest, with full back-propagation through the thoughts.

    Each row gets exactly what it would get alone, whatever its prompt's length and its number of thoughts. Logits
    are computed at the rest columns and nowhere else. N thoughts take N + 2 passes, and no position is computed
    twice; a batch without thoughts takes one. Where the model's plan has it so, the batch is run in parts.
    UserError if the batch has thoughts and the model can have none.
    """
    plan = batch_plan(model)
    if plan.refusal and batch.thoughts.any():
        require_thoughts(unwrap(model), plan)
    parts = _parts(batch, plan)
    if parts:
        return _run_parts(model, batch, parts)
    with quick_dropout(model), quick_attention(model):
        if not batch.thoughts.any():
            return _one_pass(model, batch)
        with joint_gradients(model):
            latent = roll(model, batch)
            return Trace(read(model, latent, batch.rest, batch.rest_mask), latent.states, latent.said)


def roll(model: nn.Module, batch: Batch, fed: Tensor | None = None) -> Latent:
    """Prompt and thoughts only: the state from which the rest is read or an answer is generated.

    `fed`, [B, N, H], is fed at the thought columns in place of the batch's own states, to see what hangs on them.
    """
    *_, latent = unroll(model, batch, fed)
    return latent


def unroll(model: nn.Module, batch: Batch, fed: Tensor | None = None) -> Iterator[Latent]:
    """`roll` one thought at a time: where the batch stands after its prompt, then after each thought column.

    All share one cache, which the next one extends: `fork` what is to be read before going on. ValueError if the
    model's plan does not let the rows share a batch (`think` runs such a batch in parts).
    """
    _refuse_checkpointing(model)
    plan = batch_plan(model)
    if plan.refusal and batch.thoughts.any():
        require_thoughts(unwrap(model), plan)
    if not _fit_together(batch, plan):
        raise ValueError(f"{unwrap(model).config.model_type}: these rows cannot share a batch ({plan.together.name})")
    mask, total, say = batch.prompt_mask, int(batch.thoughts.max()), batch.taught is not None
    cache = growing_cache(unwrap(model).config, mask.shape[1] + total + batch.rest.shape[1])
    with _only_where_read(model, read=1):  # A thought's pass has one column, and that is read.
        state, spoken = _last_state(model, mask, cache, say, input_ids=batch.prompt)
    states, said = [state], [spoken]
    yield Latent(cache, mask, state, spoken)
    for column in range(total):
        # A row with fewer thoughts idles in the first columns, so that all rows finish together.
        active = (batch.thoughts >= total - column)[:, None]
        mask = torch.cat([mask, active], dim=1)
        if batch.thought_token is None:
            thought = state if fed is None else fed[:, column : column + 1]
            inputs = {"inputs_embeds": thought.clone()}  # Some models (CTRL) scale it in place.
        else:
            inputs = {"input_ids": torch.full_like(batch.prompt[:, :1], batch.thought_token)}
        news = _last_state(model, mask, cache, say, **inputs)
        state, spoken = (
            torch.where(active[:, :, None], new, old) for new, old in zip(news, (state, spoken), strict=True)
        )
        states.append(state)
        said.append(spoken)
        yield Latent(cache, mask, torch.cat(states, dim=1), torch.cat(said, dim=1))


def read(model: nn.Module, latent: Latent, rest: Tensor, rest_mask: Tensor) -> Tensor:
    """Logits [B, R, V] at rest columns [B, R] (padded on the right) after prompt and thoughts. The cache grows by R."""
    mask = torch.cat([latent.mask, rest_mask], dim=1)
    logits: Tensor = _forward(model, mask, cache=latent.cache, input_ids=rest).logits
    return logits


def fork(latent: Latent, rows: Tensor) -> Latent:
    """A copy with the given rows of the batch, each as often as it is named, that grows apart from the original."""
    return Latent(fork_cache(latent.cache, rows), latent.mask[rows], latent.states[rows], latent.said[rows])


def target_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed next-token negative log-likelihood of the targets (a scalar), in float32.

    `logits` is [B, R, V] and `labels` [B, R] with `NO_LABEL` where there is no target; divide by the number of
    targets of the whole update, so that an update does not depend on how it was cut into micro-batches.
    """
    return functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )


def thought_loss(said: Tensor, thoughts: Tensor, taught: Tensor) -> Tensor:
    """Summed Kullback-Leibler divergence (a scalar, in float32) of what thoughts say from what they are taught to hold.

    `said` [B, N+1, V] are logits at the states of rows with `thoughts` [B] thoughts; `taught` [B, T, A] the tokens that
    thoughts 0 to T - 1 of each row should hold, each as likely, filled up with `NO_LABEL`. A thought that is taught
    nothing counts nothing. Step-level supervision of latent reasoning: Wei et al. 2025 (SIM-CoT), here through the
    model's own head.
    """
    known = taught != NO_LABEL
    count = known.sum(dim=2).clamp(min=1)
    first = said.shape[1] - 1 - thoughts  # The state that a row's first thought is fed.
    columns = (first[:, None] + torch.arange(taught.shape[1], device=said.device)).clamp(max=said.shape[1] - 1)
    told = said[torch.arange(len(said), device=said.device)[:, None], columns].float().log_softmax(dim=-1)
    likelihood = (told.gather(2, taught.clamp(min=0)) * known).sum(dim=2) / count
    return (-count.log() * known.any(dim=2) - likelihood).sum()


def unwrap(model: nn.Module) -> PreTrainedModel:
    """The Hugging Face model inside DDP and the like, for its configuration."""
    inner: PreTrainedModel = extract_model_from_parallel(model)
    return inner


def batch_plan(model: nn.Module) -> BatchPlan:
    """Which rows may share a batch on this model. The first call runs a few short passes to find out."""
    return plan_of(unwrap(model), think)


def prove_exact(model: nn.Module, layout: Layout) -> None:
    """Find the model's plan now; UserError, with its name and the reason, if the layout has thoughts and it can have
    none. Before the model is wrapped for several processes, which would each have to make the same passes.
    """
    plan = batch_plan(model)
    if layout.thoughts:
        require_thoughts(unwrap(model), plan)


def _forward(
    model: nn.Module, mask: Tensor, keep: int | Tensor = 0, cache: DynamicCache | None = None, **inputs: Any
) -> Any:
    """One pass over the columns of `inputs`; `mask` covers those before them as well.

    A column's position is the number of real columns before it. `keep` is the transformers argument: how many
    of the last columns get logits, or which (0 is all). No query's row of a mask that attention sees is empty.
    """
    columns = next(inputs[name] for name in ("input_ids", "inputs_embeds") if name in inputs).shape[1]
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -columns:]
    masks: Any = mask.long()
    # A single column comes after real ones, which it sees; and rows of the same shape have no padding.
    if columns > 1 and batch_plan(model).together is not Together.SAME_SHAPE:
        masks = create_masks(unwrap(model), mask, columns, cache, positions)
    held = {} if cache is None else {cache_argument(type(unwrap(model)).forward): cache}
    output = model(
        **inputs,
        attention_mask=masks,
        position_ids=positions,
        logits_to_keep=keep,
        # The Trainer turns the cache off in the config, and without a cache a thought would see nothing.
        use_cache=cache is not None,
        output_hidden_states=True,
        **held,
    )
    if isinstance(keep, Tensor):
        output.logits = output.logits[:, : len(keep)]  # Of none, where a model (TrOCR) computes all in any case.
    else:
        output.logits = output.logits[:, -keep:]
    return output


def _last_state(
    model: nn.Module, mask: Tensor, cache: DynamicCache, say: bool, **inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """The last hidden state (after the final norm) of the last column, [B, 1, H], and its logits [B, 1, V].

    Without `say` no logits are computed, and they are [B, 0, V].
    """
    keep = 1 if say else torch.empty(0, dtype=torch.long, device=mask.device)
    output = _forward(model, mask, keep=keep, cache=cache, **inputs)
    return output.hidden_states[-1][:, -1:], output.logits


def _one_pass(model: nn.Module, batch: Batch) -> Trace:
    """A batch without thoughts: an ordinary forward pass over prompt and rest."""
    ids = torch.cat([batch.prompt, batch.rest], dim=1)
    mask = torch.cat([batch.prompt_mask, batch.rest_mask], dim=1)
    end = batch.prompt.shape[1]
    with _only_where_read(model, read=ids.shape[1] - end + 1):
        say = batch.taught is not None
        output = _forward(model, mask, keep=batch.rest.shape[1] + say, input_ids=ids)
    said, logits = output.logits[:, :say], output.logits[:, say:]
    if batch_plan(model).refusal:  # Its hidden states may have any shape, and none is ever fed.
        return Trace(logits, logits.new_zeros(len(ids), 1, 0), said)
    last = max(end, 1)  # A prompt of one token without a cue is all rest.
    return Trace(logits, output.hidden_states[-1][:, last - 1 : last], said)


def last_feed_forward(model: nn.Module) -> nn.Module | None:
    """The part of the last layer that `think` leaves out at columns that nobody reads.

    None for models that do not call it `mlp`, as most do, or whose `mlp` does more than treat every column by itself,
    and for those that will compute their activations again, when it would not be left out: they compute all of it.
    """
    network = unwrap(model)
    if not batch_plan(network).skip_mlp:
        return None
    parts = [module for name, module in network.named_modules() if name.endswith(".mlp")]
    complete = len(parts) == network.config.get_text_config().num_hidden_layers
    return parts[-1] if complete and not _checkpoints_activations(network) else None


@contextmanager
def _only_where_read(model: nn.Module, read: int) -> Iterator[None]:
    """Passes whose states are read at the last `read` columns only: elsewhere the last layer's feed-forward part, which
    treats every column by itself, is left out, and states there mean nothing.

    Of a layer this is two thirds.
    """
    part = last_feed_forward(model)
    if part is None:
        yield
        return
    unread = 0

    def narrow(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal unread
        unread = max(inputs[0].shape[1] - read, 0)
        return (inputs[0][:, unread:].contiguous(), *inputs[1:])

    def widen(_: nn.Module, __: tuple[Tensor, ...], output: Any) -> Any:
        if isinstance(output, tuple):  # A mixture of experts says how it was routed as well.
            return (widen(_, __, output[0]), *output[1:])
        return functional.pad(output, (0, 0, unread, 0))

    hooks = part.register_forward_pre_hook(narrow), part.register_forward_hook(widen)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fit_together(batch: Batch, plan: BatchPlan) -> bool:
    """Whether the plan lets the rows' prompts and thoughts share a batch."""
    if plan.together is Together.ANY:  # Nothing is asked of the device then.
        return True
    even = bool((batch.thoughts == batch.thoughts[0]).all())
    return even and (plan.together is Together.SAME_THOUGHTS or bool(batch.prompt_mask.all()))


def _parts(batch: Batch, plan: BatchPlan) -> list[Tensor]:
    """Indices of the rows of each part in which the batch has to be run, those with fewest thoughts first; none if it
    can be run as it is."""
    shapes = plan.together is Together.SAME_SHAPE
    if _fit_together(batch, plan) and not (shapes and not batch.rest_mask.all()):
        return []
    sizes = [batch.thoughts]
    if shapes:
        sizes += [batch.prompt_mask.sum(dim=1), batch.rest_mask.sum(dim=1)]
    kinds, kind = torch.stack(sizes, dim=1).unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    return [(kind == number).nonzero()[:, 0] for number in range(len(kinds))]


def _run_parts(model: nn.Module, batch: Batch, parts: list[Tensor]) -> Trace:
    """`think` of each part, put together as one trace: no idle columns, at the price of more passes."""
    total, columns = int(batch.thoughts.max()), batch.rest.shape[1]
    back, traces = torch.cat(parts).argsort(), []
    for rows in parts:
        part = _without_padding(batch.take(rows))
        trace, idle = think(model, part), total - int(part.thoughts[0])
        logits = functional.pad(trace.logits, (0, 0, 0, columns - part.rest.shape[1]))
        # An idle column holds the state of the one before it, and so what the head makes of that.
        states, said = (torch.cat([one[:, :1].repeat(1, idle, 1), one], dim=1) for one in (trace.states, trace.said))
        traces.append((logits, states, said))
    return Trace(*(torch.cat(kind)[back] for kind in zip(*traces, strict=True)))


def _without_padding(batch: Batch) -> Batch:
    """The batch without columns that are padding in every row."""
    first, last = (~batch.prompt_mask.any(dim=0)).sum(), batch.rest_mask.any(dim=0).sum()
    return replace(
        batch,
        prompt=batch.prompt[:, first:],
        prompt_mask=batch.prompt_mask[:, first:],
        rest=batch.rest[:, :last],
        rest_mask=batch.rest_mask[:, :last],
        labels=batch.labels[:, :last],
    )


def _checkpoints_activations(network: PreTrainedModel) -> bool:
    """Whether layers will run a second time, in the backward pass."""
    old = "is_gradient_checkpointing"  # transformers renamed the property within version 5.
    name = "is_activation_checkpointing" if hasattr(network, "is_activation_checkpointing") else old
    return network.training and bool(getattr(network, name))


def _refuse_checkpointing(model: nn.Module) -> None:
    if _checkpoints_activations(unwrap(model)):
        raise UserError(
            "activation (gradient) checkpointing drops the KV cache that carries the thoughts' gradient, "
            "so the gradient would be silently wrong: turn it off (model.gradient_checkpointing_disable())"
        )
