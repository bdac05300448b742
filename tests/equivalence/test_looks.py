"""What is read off thoughts equals what a plain computation without a cache gives."""

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from latentcot.analysis.decode import decode, layer_states
from latentcot.analysis.health import health, thought_gradients
from latentcot.batch import collate
from latentcot.checkpoint import Checkpoint, final_norm
from latentcot.core import Example, Layout
from tests.conftest import checkpoint, tiny_model
from tests.equivalence import naive

EXAMPLES = [Example("w1 w2 w3", (), "w4"), Example("w5", (), "w6 w7"), Example("w8 w9 w3 w2 w1 w20", (), "w1")]


def states(thinker: Checkpoint, example: Example) -> torch.Tensor:
    """The thoughts of one example, [K, H]."""
    return torch.cat(naive.embedded(thinker.model, thinker.layout(example.question))[1], dim=1)[0].detach()


def test_decoded_tokens_are_the_heads_choice(model: PreTrainedModel) -> None:
    thinker = checkpoint(model)
    tokens = decode(thinker, EXAMPLES, top=3, batch_size=2)
    shares = [thinker.model.get_output_embeddings()(states(thinker, one)).softmax(dim=-1) for one in EXAMPLES]
    for index, expected in [*enumerate(shares), (None, torch.stack(shares).mean(dim=0))]:
        found = [token for token in tokens if token.index == index and token.view == "head"]
        best = expected.topk(3, dim=-1)
        assert [t.token for t in found] == [thinker.tokenizer.decode([i]) for i in best.indices.flatten().tolist()]
        assert [t.score for t in found] == pytest.approx(best.values.flatten().tolist(), rel=1e-4)
        assert [(t.thought, t.rank) for t in found] == [(k, r) for k in (1, 2, 3) for r in (1, 2, 3)]


def test_decoding_a_thought_is_the_next_token_of_a_stock_forward() -> None:
    """The first thought is the state at the end of the prompt, so its decoding is the ordinary prediction there."""
    thinker = checkpoint(tiny_model("gpt2"))
    ids = torch.tensor([thinker.layout("w1 w2 w3").prompt])
    logits = thinker.model(input_ids=ids).logits[0, -1].detach()
    first = next(t for t in decode(thinker, EXAMPLES[:1], top=1) if t.view == "head")
    assert first.token == thinker.tokenizer.decode([int(logits.argmax())])
    assert first.score == pytest.approx(float(logits.softmax(dim=-1).max()), rel=1e-4)


def test_nearest_embeddings_have_the_highest_cosine() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    found = [t for t in decode(thinker, EXAMPLES[:1], top=2) if t.index == 0 and t.view == "nearest"]
    embeddings = thinker.model.get_input_embeddings().weight
    cosines = functional.cosine_similarity(states(thinker, EXAMPLES[0])[:, None], embeddings[None], dim=-1)
    assert [t.score for t in found] == pytest.approx(cosines.topk(2, dim=-1).values.flatten().tolist(), rel=1e-4)


def test_layers_are_those_of_a_pass_without_a_cache(model: PreTrainedModel) -> None:
    layouts = [checkpoint(model).layout(example.question) for example in EXAMPLES]
    with torch.no_grad():
        found = layer_states(model, collate(layouts, 0))
        assert found.shape == (3, 3, 3, 32)
        for row, layout in zip(found, layouts, strict=True):
            sequence, _ = naive.embedded(model, layout)
            hidden = model(inputs_embeds=sequence, use_cache=False, output_hidden_states=True).hidden_states
            ends = slice(len(layout.prompt) - 1, len(layout.prompt) + 2)
            expected = torch.stack([layer[0, ends] for layer in hidden], dim=1)
            torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3_text", "opt", "gpt_neox"])
def test_the_final_norm_of_the_last_layer_is_the_thought(architecture: str) -> None:
    model = tiny_model(architecture)
    kept: list[torch.Tensor] = []
    norm = final_norm(model)
    norm.register_forward_hook(lambda _, inputs, output: kept.append(output))
    output = model(input_ids=torch.tensor([[3, 4, 5]]), output_hidden_states=True)
    torch.testing.assert_close(kept[-1], output.hidden_states[-1])


def test_gradients_at_thoughts_equal_the_reference(model: PreTrainedModel) -> None:
    layouts = [Layout((5, 6, 7, 8, 9, 10, 37), 3, (38,), (1, 2, 3)), Layout((5, 37), 3, (38,), (4, 1))]
    found = thought_gradients(model, collate(layouts, 0))
    for row, layout in zip(found, layouts, strict=True):
        embed, fed = model.get_input_embeddings(), []
        sequence = embed(torch.tensor([layout.prompt]))
        for _ in range(layout.thoughts):
            fed.append(model.base_model(inputs_embeds=sequence, use_cache=False).last_hidden_state[:, -1:])
            sequence = torch.cat([sequence, fed[-1]], dim=1)
        sequence = torch.cat([sequence, embed(torch.tensor([[*layout.cue, *layout.target[:-1]]]))], dim=1)
        logits = model(inputs_embeds=sequence, use_cache=False).logits[0, -len(layout.target) :]
        loss = functional.cross_entropy(logits, torch.tensor(layout.target), reduction="sum")
        expected = torch.stack([gradient.norm() for gradient in torch.autograd.grad(loss, fed)])
        torch.testing.assert_close(row, expected, rtol=1e-3, atol=1e-5)


def test_health_of_each_thought_equals_its_definition() -> None:
    thinker = checkpoint(tiny_model("gpt2"))
    found, measured = health(thinker, EXAMPLES, batch_size=2)
    own = torch.stack([states(thinker, example) for example in EXAMPLES])
    size = thinker.model.get_input_embeddings().weight.detach().norm(dim=-1).mean()
    logits = thinker.model.get_output_embeddings()(own).detach()
    for column, one in enumerate(found):
        thought = own[:, column]
        assert one.norm_ratio == pytest.approx(float(thought.norm(dim=-1).mean() / size), rel=1e-4)
        pairs = [functional.cosine_similarity(thought[a], thought[b], dim=0) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert one.between == pytest.approx(float(sum(pairs)) / 3, rel=1e-4)
        expected = torch.distributions.Categorical(logits=logits[:, column]).entropy().mean()
        assert one.entropy == pytest.approx(float(expected), rel=1e-4)
        assert one.cosines[column] == pytest.approx(1, abs=1e-5)
    others = [found[a].cosines[b] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert measured["thought_cosine"] == pytest.approx(sum(others) / 3, rel=1e-4)
    assert measured["thought_norm_ratio"] == pytest.approx(sum(one.norm_ratio for one in found) / 3, rel=1e-4)
