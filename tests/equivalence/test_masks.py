"""No query's row of a mask that reaches attention is empty, and a kernel may return anything for one that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.analysis.faithfulness import faithfulness
from latentcot.analysis.health import health
from latentcot.analysis.values import candidate_values
from latentcot.architecture import Together
from latentcot.batch import collate
from latentcot.core import Example, Layout
from latentcot.generate import answer
from latentcot.think import batch_plan, target_loss, think
from tests.conftest import ARCHITECTURES, checkpoint
from tests.equivalence.architectures import PLANS, tiny

SHAPES = [(3, 1), (5, 2), (7, 0), (9, 3), (12, 1), (15, 2)]
ROWS = [Layout((*range(2, 2 + size), 37), thoughts, (38,), (1, 2, 3)[: 1 + size % 3]) for size, thoughts in SHAPES]
LONG = [*ROWS, Layout((5, 37), 1, (38,), tuple(range(2, 20)))]
"""Their suffixes are padded further than a small window reaches."""
EXAMPLES = [
    Example("w9 w8 w7", ("w10 w1 w11", "w12 w13 w2 w3"), "w1", {"candidates": ["w1", "w2 w3", "w4 w5 w6"]}),
    Example("w3", ("w20 w3",), "w7", {"candidates": ["w3", "w7", "w8 w9 w1 w2 w3 w4 w5 w6 w10 w11"]}),
    Example("w5 w6 w7 w8 w9 w10 w11 w12 w13 w14", (), "w4", {"candidates": ["w4"]}),
]


def visible(mask: Tensor) -> Tensor:
    """Whether each key is visible, for a boolean or an additive mask."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


@contextmanager
def seen_masks(model: nn.Module) -> Iterator[list[Tensor]]:
    """Every mask [B, 1 or H, Q, K] that a module for attention is given, whatever function it calls then."""
    masks: list[Tensor] = []
    hides = model.config.model_type == "mpt"  # Its boolean masks are True where a key is hidden.

    def look(_: nn.Module, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        for one in (*arguments, *named.values()):
            if isinstance(one, Tensor) and one.ndim == 4 and (one.dtype == torch.bool or not one.requires_grad):
                masks.append(~one if hides else one)

    hooks = [
        module.register_forward_pre_hook(look, with_kwargs=True)
        for module in model.modules()
        if "attention" in type(module).__name__.lower()
    ]
    try:
        yield masks
    finally:
        for hook in hooks:
            hook.remove()


def train(model: PreTrainedModel) -> None:
    batch = collate(LONG, 0)
    target_loss(think(model.train(), batch).logits, batch.labels).backward()


def answer_all(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    for thoughts in (0, 2):
        answer(thinker, [example.question for example in EXAMPLES], thoughts=thoughts)


def analyse(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    faithfulness(thinker, EXAMPLES)
    candidate_values(thinker, EXAMPLES, range(3))
    health(thinker, EXAMPLES)


WORK: dict[str, Callable[[PreTrainedModel], None]] = {"training": train, "answering": answer_all, "analyses": analyse}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("architecture", PLANS)
def test_no_row_of_a_mask_is_empty(architecture: str, work: str) -> None:
    model = tiny(architecture)
    batch_plan(model)  # Found by passes that nobody else sees, some of them with what the plan then rules out.
    with seen_masks(model) as masks:
        WORK[work](model)
    assert masks or PLANS[architecture] is Together.SAME_SHAPE  # Without padding there may be none.
    assert all(bool(visible(mask).any(dim=-1).all()) for mask in masks)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "lfm2", "bloom"])
def test_empty_rows_are_seen(architecture: str) -> None:
    """The model's own masks, of left padding, are what the hooks must be able to catch."""
    model, batch = tiny(architecture), collate(ROWS, 0)
    with seen_masks(model) as masks:
        model(input_ids=batch.prompt, attention_mask=batch.prompt_mask.long())
    assert not all(bool(visible(mask).any(dim=-1).all()) for mask in masks)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "mistral", "qwen3_next", "smollm3"])
def test_gradients_are_finite_whatever_a_kernel_makes_of_empty_rows(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a kernel that returns NaN for them, training has the gradients that it has without."""
    stock, gradients, called = functional.scaled_dot_product_attention, [], []

    def kernel(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *more: Any, **options: Any
    ) -> Tensor:
        output = stock(query, key, value, attn_mask, *more, **options)
        if attn_mask is None:
            return output
        called.append(attn_mask)
        return output * torch.where(visible(attn_mask).any(dim=-1, keepdim=True), 1.0, float("nan"))

    for attention in (stock, kernel):
        monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
        model = tiny(architecture)
        train(model)
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert called
    torch.testing.assert_close(*gradients)


def test_a_batch_without_padding_is_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mask is built, so that the fastest kernels run."""
    stock, masks = functional.scaled_dot_product_attention, []

    def kernel(*states: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, **options: Any) -> Tensor:
        masks.append((states[0].shape[2], attn_mask is None, is_causal))
        return stock(*states, attn_mask=attn_mask, is_causal=is_causal, **options)

    model = tiny("llama")
    batch_plan(model)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", kernel)
    think(model, collate([Layout((5, 6, 7, 37), 2, (38,), (1,)), Layout((8, 9, 3, 37), 2, (38,), (2,))], 0))
    assert masks == [(4, True, True)] * 2 + [(1, True, False)] * 6
