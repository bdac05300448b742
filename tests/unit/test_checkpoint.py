"""Models from scratch: thoughts begin as large as token embeddings where that is asked for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentcot.checkpoint import Checkpoint, start
from latentcot.config import ModelConfig, Scratch
from latentcot.core import Batch, Frame, UserError
from latentcot.methods import Coconut, CoT, Method
from latentcot.think import roll
from tests.conftest import ARCHITECTURES

TEXT = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


def thought_sizes(architecture: str, scale_thoughts: bool) -> tuple[float, float]:
    """Mean norm of fed-back states and of token embeddings."""
    torch.manual_seed(0)
    scratch = Scratch(architecture, layers=2, heads=2, width=32, positions=64, scale_thoughts=scale_thoughts)
    model, tokenizer, _ = start(ModelConfig(scratch=scratch), [TEXT])
    ids = torch.tensor(tokenizer(TEXT)["input_ids"])[:, None]
    rows = len(ids)
    batch = Batch(ids, torch.ones(rows, 1, dtype=torch.bool), torch.full((rows,), 1), ids, ids > 0, ids)
    with torch.no_grad():
        fed = roll(model.eval(), batch).states[:, 0]
        return float(fed.norm(dim=-1).mean()), float(model.get_input_embeddings()(ids).norm(dim=-1).mean())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scaled_thoughts_are_as_large_as_token_embeddings(architecture: str) -> None:
    thought, token = thought_sizes(architecture, scale_thoughts=True)
    assert thought / token == pytest.approx(1, abs=0.1)


def test_stock_thoughts_are_far_larger() -> None:
    thought, token = thought_sizes("gpt2", scale_thoughts=False)
    assert thought / token > 10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_resized_thoughts_leave_the_logits_as_they_were(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    scratch = Scratch(architecture, layers=2, heads=2, width=32, positions=64, initializer_range=0.2, dropout=0.0)
    before, tokenizer, _ = start(ModelConfig(scratch=scratch), [TEXT])
    with torch.no_grad():  # As if it were trained.
        for parameter in before.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    Checkpoint(before, tokenizer, Frame(), 0, "cot").save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    after, _, _ = start(ModelConfig(base=str(tmp_path), thought_size=0.25), [])
    assert after.get_output_embeddings().weight is not after.get_input_embeddings().weight
    ids = torch.tensor(tokenizer(TEXT)["input_ids"])[:, None]
    with torch.no_grad():
        known = before.eval()(input_ids=ids, output_hidden_states=True)
        found = after.eval()(input_ids=ids, output_hidden_states=True)
    words = slice(0, len(tokenizer) - 3)  # The markers start anew.
    torch.testing.assert_close(found.logits[..., words], known.logits[..., words], atol=1e-3, rtol=1e-3)
    embeddings = after.get_input_embeddings()(ids).detach()
    ratio = float(found.hidden_states[-1].norm(dim=-1).mean() / embeddings.norm(dim=-1).mean())
    assert ratio == pytest.approx(0.25, rel=0.15)


def test_a_size_of_thoughts_below_nought_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.thought_size is -1: give more than 0"):
        ModelConfig(thought_size=-1)


def test_an_architecture_that_transformers_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="'gpt9' is not a model type"):
        start(ModelConfig(scratch=Scratch("gpt9")), [TEXT])


def test_an_architectures_own_fields_can_be_given() -> None:
    """In SmolLM3 layers may go without positions: what such a layer reads does not depend on where it stands."""
    scratch = Scratch(architecture="smollm3", layers=1, heads=2, width=16, positions=32, dropout=0.0)
    for rotary, moved in (([1], True), ([0], False)):
        fields = {"no_rope_layers": rotary, "head_dim": 4}
        torch.manual_seed(0)
        model, _, _ = start(ModelConfig(scratch=replace(scratch, fields=fields)), [TEXT])
        assert model.model.layers[0].self_attn.q_proj.out_features == 2 * 4
        ids = torch.arange(4, 10)[None]
        swapped = ids[:, [1, 0, 2, 3, 4, 5]]
        last, other = (model.eval()(input_ids=each).logits[0, -1] for each in (ids, swapped))
        assert torch.allclose(last, other, atol=1e-6) != moved
    for fields, error in (({"no_rope_layer": [0]}, "did you mean no_rope_layers"), ({"mlp_bias": 3}, "mlp_bias")):
        with pytest.raises(UserError, match=error):
            start(ModelConfig(scratch=replace(scratch, fields=fields)), [TEXT])


def test_rotary_positions_turn_by_the_base_that_is_asked_for(tmp_path: Path) -> None:
    scratch = Scratch("llama", layers=1, heads=2, width=32, positions=64)
    model, tokenizer, markers = start(ModelConfig(scratch=scratch, rope_theta=100.0), [TEXT])
    expected = [100.0 ** -(pair / 8) for pair in range(8)]
    assert model.model.rotary_emb.inv_freq.tolist() == pytest.approx(expected)
    Checkpoint(model, tokenizer, CoT().frame(markers), 0, "cot").save(tmp_path)
    slower, _, _ = start(ModelConfig(base=str(tmp_path), rope_theta=9.0), [])
    assert slower.model.rotary_emb.inv_freq.tolist() == pytest.approx([9.0 ** -(pair / 8) for pair in range(8)])
    torch.testing.assert_close(dict(slower.named_parameters()), dict(model.named_parameters()))
    assert start(ModelConfig(base=str(tmp_path)), [])[0].model.rotary_emb.inv_freq.tolist() == pytest.approx(expected)
    partly, _, _ = start(ModelConfig(scratch=replace(scratch, architecture="gpt_neox"), rope_theta=100.0), [TEXT])
    assert partly.config.rope_parameters["partial_rotary_factor"] == 0.25
    assert partly.config.rope_parameters["rope_theta"] == 100.0
    mixed, _, _ = start(ModelConfig(scratch=replace(scratch, architecture="gemma3_text"), rope_theta=100.0), [TEXT])
    turned = [buffer.tolist() for name, buffer in mixed.named_buffers() if name.endswith("_inv_freq")]
    assert turned
    assert all(each == pytest.approx(expected) for each in turned)
    with pytest.raises(UserError, match=r"rope_theta is 100.0, and gpt2 has no rotary positions: leave it out"):
        start(ModelConfig(scratch=replace(scratch, architecture="gpt2"), rope_theta=100.0), [TEXT])


@pytest.mark.parametrize("tie", [True, False])
def test_embeddings_are_tied_on_request_in_every_architecture(tie: bool) -> None:
    for architecture in ARCHITECTURES:
        scratch = Scratch(architecture, layers=1, heads=2, width=32, positions=64, tie_embeddings=tie)
        model, _, _ = start(ModelConfig(scratch=scratch), [TEXT])
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) is tie


@pytest.mark.parametrize(("method", "anew"), [(CoT(), True), (Coconut(), False)])
def test_markers_that_a_row_never_used_start_anew(method: Method, anew: bool, tmp_path: Path) -> None:
    """As where they are added after a CoT run; a row that was trained with them hands them on."""
    scratch = Scratch(layers=1, heads=2, width=32, positions=64)
    model, tokenizer, markers = start(ModelConfig(scratch=scratch), [TEXT])
    ids = [markers.bot, markers.eot, markers.pause]
    with torch.no_grad():
        model.get_input_embeddings().weight[ids] = 7.0
    Checkpoint(model, tokenizer, method.frame(markers), 0, method.name).save(tmp_path)
    again, tokenizer, found = start(ModelConfig(base=str(tmp_path), markers_like="a"), [])
    assert found == markers
    rows = again.get_input_embeddings().weight
    expected = rows[tokenizer.encode("a")].expand(3, -1) if anew else torch.full((3, 32), 7.0)
    assert torch.equal(rows[ids], expected)
