"""The page on scale: its formulas on real models, and its tables."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks import scale
from benchmarks.scale import BF16, LLAMA_1B, LLAMA_8B, Row, Shape, saved
from latentcot.batch import collate
from latentcot.core import Layout
from latentcot.speed import attention
from latentcot.think import batch_plan, target_loss, think

TINY = (Shape(2, 32, 4, 2, 8, 48, 40, tied=True), Shape(3, 64, 4, 2, 16, 160, 100, tied=False))


def llama(shape: Shape, dtype: torch.dtype) -> PreTrainedModel:
    sizes: dict[str, Any] = {"hidden_size": shape.width, "num_hidden_layers": shape.layers, "head_dim": shape.head_size}
    heads = {"num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads}
    rest = {"intermediate_size": shape.inner, "vocab_size": shape.vocabulary, "tie_word_embeddings": shape.tied}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, **heads, **rest), dtype=dtype)


@pytest.mark.parametrize("shape", [LLAMA_1B, LLAMA_8B, *TINY])
def test_parameters_are_those_of_the_model(shape: Shape) -> None:
    with torch.device("meta"):
        model = llama(shape, torch.bfloat16)
    assert shape.parameters == model.num_parameters()
    assert shape.layer == sum(parameter.numel() for parameter in model.model.layers[0].parameters())


@pytest.mark.parametrize("autocast", [False, True], ids=["bf16", "autocast"])
@pytest.mark.parametrize("row", [Row(20, 3, 6), Row(60, 6, 12), Row(10, 1, 4)], ids=str)
@pytest.mark.parametrize("shape", TINY, ids=["tied", "untied"])
def test_activations_are_what_autograd_saves(
    shape: Shape, row: Row, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of unequal prompts, as attention then needs a mask; weights, and their bf16 copies, are counted apart."""
    monkeypatch.setattr(attention, "FEW_WEIGHTS", math.inf)  # The page is on GPUs, where attention is PyTorch's.
    model = llama(shape, torch.float32 if autocast else torch.bfloat16)
    batch_plan(model)  # Found in passes of its own, which are not counted.
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    rows = [Layout((3,) * length, row.thoughts, (4,), (5,) * row.rest) for length in (row.prompt, row.prompt // 2)]
    batch = collate(rows, 0)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        target_loss(think(model, batch).logits, batch.labels)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    products = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    copies = sum(BF16 * weight.numel() for weight in products) if autocast else 0
    assert found - copies == pytest.approx(len(rows) * saved(shape, row, autocast), rel=0.06)


def test_the_page_holds_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    for table in (scale.memory_table, scale.activation_table, scale.traffic_table, scale.update_table):
        assert table() in page, f"{table.__name__}: python -m benchmarks.scale prints it anew"
