"""The floor counts what PyTorch counts, and passes as they really are."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, PreTrainedModel

from benchmarks.floor import gpt2
from latentcot.bench import workloads
from latentcot.bench.floor import (
    BACKWARD,
    Pass,
    Shape,
    Sizes,
    Speed,
    answer_passes,
    answer_seconds,
    backward_bytes,
    coconut_passes,
    forward_bytes,
    operations,
    operations_made,
    ordinary_passes,
    unread,
    update_seconds,
)
from latentcot.bench.models import shape_of
from latentcot.core import UserError
from latentcot.speed.cache import cache_argument
from latentcot.think import batch_plan, target_loss, think
from tests.conftest import VOCABULARY, tiny_model

SIZES = Sizes(batch=2, prompt=10, thoughts=3, target=4)
UPDATES = {"coconut": coconut_passes, "ordinary": ordinary_passes}


def counted(work: Callable[[], object]) -> dict[str, int]:
    """Operations that PyTorch counts in products of weights (mm) and of activations (bmm)."""
    # Fused attention is not counted on every device, its products are.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    found = {str(kind): count for kind, count in counter.get_flop_counts()["Global"].items()}
    return {"mm": found.get("aten.mm", 0) + found.get("aten.addmm", 0), "bmm": found.get("aten.bmm", 0)}


def passes_of(model: PreTrainedModel, work: Callable[[], object]) -> list[Pass]:
    """The forward passes that the work makes."""
    made: list[Pass] = []
    batch_plan(model)  # Finding it takes passes of its own.

    def note(_: object, __: object, inputs: dict[str, object], output: object) -> None:
        fed, cache = inputs.get("input_ids"), inputs.get(cache_argument(type(model).forward))
        columns = (inputs["inputs_embeds"] if fed is None else fed).shape[1]
        held = columns if cache is None else cache.get_seq_length()
        made.append(Pass(columns, held - columns, output.logits.shape[1]))

    with model.register_forward_hook(note, with_kwargs=True):
        work()
    return made


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3", "opt"])
def test_forward_operations_are_those_that_pytorch_counts(architecture: str) -> None:
    model = tiny_model(architecture)
    batch, shape = workloads.batch_of(model, SIZES, 0), shape_of(model)
    found = counted(lambda: think(model, batch))
    floor = operations(shape, SIZES.batch, coconut_passes(SIZES))
    assert found["mm"] + floor.attention == operations_made(shape, SIZES)
    # OPT does not call the part that may be left out `mlp`.
    assert (operations_made(shape, SIZES) < floor.total) == (architecture != "opt")
    # Attention that knows nothing of causality computes whole rectangles.
    rectangles = sum(one.columns * (one.before + one.columns) for one in coconut_passes(SIZES))
    pairs = sum(one.pairs for one in coconut_passes(SIZES))
    assert found["bmm"] * pairs == floor.attention * rectangles


@pytest.mark.parametrize("thoughts", [0, 3])
def test_backward_operations_are_twice_as_many(thoughts: int) -> None:
    model, sizes = tiny_model("gpt2"), replace(SIZES, thoughts=thoughts)
    batch, shape = workloads.batch_of(model, sizes, 0), shape_of(model)
    with sdpa_kernel(SDPBackend.MATH):
        loss = target_loss(think(model, batch).logits, batch.labels)
    floor = operations(shape, sizes.batch, coconut_passes(sizes))
    # What nobody reads at the last thought, one column of as many as the prompt has, the loss has no path to; only
    # GPT-2's queries are one product with keys and values.
    skipped = unread(shape, sizes).layers // sizes.prompt - 2 * sizes.batch * shape.width**2 if thoughts else 0
    assert counted(loss.backward)["mm"] == BACKWARD * (operations_made(shape, sizes) - floor.attention - skipped)


@pytest.mark.parametrize("thoughts", [0, 1, 3, 12])
@pytest.mark.parametrize("name", UPDATES)
def test_passes_of_updates_are_those_made(name: str, thoughts: int) -> None:
    model, sizes = tiny_model("gpt2"), replace(SIZES, thoughts=thoughts)
    update = workloads.updates(model, sizes, "fp32", 0)[name]
    assert passes_of(model, update) == UPDATES[name](sizes)


@pytest.mark.parametrize("thoughts", [0, 2])
def test_passes_of_answers_are_those_made(thoughts: int) -> None:
    model = tiny_model("gpt2")
    batch = workloads.batch_of(model, Sizes(2, 9, thoughts, 1), 0)
    if thoughts:
        work = partial(workloads.coconut_answers, model, batch, 3, "fp32")
    else:
        work = partial(workloads.stock_answers, model, batch, 3, "fp32")
    assert passes_of(model, work) == answer_passes(9, thoughts, 3)


def test_a_thought_and_a_token_meet_the_same_cache() -> None:
    model = tiny_model("gpt2")
    batch = workloads.batch_of(model, SIZES, 0)
    thinking = passes_of(model, lambda: workloads.thought_seconds(model, batch, 5, "fp32"))
    writing = passes_of(model, lambda: workloads.token_seconds(model, batch, 5, "fp32"))
    assert [(one.columns, one.before) for one in thinking] == [(one.columns, one.before) for one in writing]
    assert len(thinking) == 6


def test_pairs_are_the_ones_of_a_causal_mask() -> None:
    for columns, before in ((1, 0), (5, 0), (1, 7), (4, 3)):
        mask = torch.ones(columns, before + columns).tril(diagonal=before)
        assert Pass(columns, before).pairs == int(mask.sum())


def test_what_nobody_reads_changes_nothing() -> None:
    """The last layer's output at prompt columns but the last, and at the last thought."""
    model = tiny_model("gpt2")
    batch = workloads.batch_of(model, SIZES, 0)
    unseen = 0

    def wipe(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal unseen
        columns, output = output.shape[1], output.clone()
        made.append(columns)
        if columns == SIZES.prompt:
            output[:, :-1] = 0
            unseen += columns - 1
        elif len(made) == 1 + SIZES.thoughts:
            output[:] = 0
            unseen += columns
        return output

    made: list[int] = []
    expected = think(model, batch).logits
    with model.transformer.h[-1].register_forward_hook(wipe):
        torch.testing.assert_close(think(model, batch).logits, expected)
    shape = shape_of(model)
    weights = shape.weights // shape.layers - 2 * shape.width * shape.cache
    assert unread(shape, SIZES).layers == 2 * SIZES.batch * weights * unseen
    assert unread(shape, replace(SIZES, thoughts=0)).total == 0


def test_bytes_are_those_of_weights_and_cache(model: PreTrainedModel) -> None:
    shape, cache = shape_of(model), DynamicCache()
    ids = torch.ones((2, 6), dtype=torch.long)
    model(input_ids=ids, attention_mask=torch.ones_like(ids), **{cache_argument(type(model).forward): cache})
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    moved = forward_bytes(shape, 2, [Pass(6, logits=6)], 4)
    assert moved.cache == held
    assert moved.weights == 4 * (shape.weights + shape.head)
    assert forward_bytes(shape, 2, [Pass(6), Pass(1, 6)], 4).weights == 2 * 4 * shape.weights
    assert backward_bytes(shape, 2, [Pass(6, logits=6)], 4).gradients == 2 * moved.weights
    norms_and_biases = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    embeddings = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Embedding))
    untied = 0 if model.config.tie_word_embeddings else shape.head
    assert shape.weights + norms_and_biases + embeddings + untied == model.num_parameters()


def test_the_shape_of_gpt2_is_a_formula() -> None:
    assert shape_of(tiny_model("gpt2")) == gpt2(layers=2, width=32, vocabulary=VOCABULARY)


def test_the_least_time_is_bound_by_one_or_the_other() -> None:
    shape, passes = Shape(2, 100, 50, 5, 5, 5), [Pass(7, logits=7)]
    work, moved = operations(shape, 3, passes).total, forward_bytes(shape, 3, passes, 4).total
    assert answer_seconds(shape, 3, passes, 4, Speed(operations=1, bytes=1e9)) == work
    assert answer_seconds(shape, 3, passes, 4, Speed(operations=1e9, bytes=1)) == moved
    assert update_seconds(shape, 3, passes, 4, Speed(operations=1, bytes=1e9)) == (1 + BACKWARD) * work
    backward = backward_bytes(shape, 3, passes, 4).total
    assert update_seconds(shape, 3, passes, 4, Speed(operations=1e9, bytes=1)) == moved + backward


@pytest.mark.parametrize(("field", "value"), [("batch", 0), ("prompt", 0), ("thoughts", -1), ("target", 0)])
def test_sizes_of_nothing_are_refused(field: str, value: int) -> None:
    with pytest.raises(UserError, match=f"--{field} is {value}"):
        replace(SIZES, **{field: value})
