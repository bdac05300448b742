"""Probes find what thoughts hold and nothing in noise; the control task tells memory from content."""

import pytest
import torch

from latentcot.analysis.probe import FACTS, FAR, Probed, probe_states, ridge_classify, to_target
from latentcot.core import UserError
from latentcot.data import prosqa
from latentcot.data.graph import Graph, graph_of
from latentcot.report.plots.probe import draw_probe

GRAPHS = [graph_of(example) for example in prosqa.make_splits({"valid": 250}, seed=4, nodes=12)["valid"]]
CONCEPTS = sorted({name for graph in GRAPHS for node, name in enumerate(graph.symbols) if node not in graph.entities})
ENTITIES = sorted({graph.symbols[graph.root] for graph in GRAPHS})


def by_fact(found: list[Probed]) -> dict[str, Probed]:
    return {one.fact: one for one in found}


def noise(width: int) -> torch.Tensor:
    return torch.randn(len(GRAPHS), 1, width, generator=torch.Generator().manual_seed(0))


def frontiers() -> torch.Tensor:
    """States that say, in a direction for each concept, whether it is a child of the asked entity."""
    rows = [[float(name in {g.symbols[child] for child in g.children[g.root]}) for name in CONCEPTS] for g in GRAPHS]
    return torch.tensor(rows)[:, None] * 4 + noise(len(CONCEPTS)) * 0.1


def test_a_fact_that_thoughts_hold_is_found_and_is_no_memory() -> None:
    found = by_fact(probe_states(frontiers(), GRAPHS, seed=0))
    assert list(found) == list(FACTS)
    for fact in ("on the frontier at k", "reachable within k"):  # The same for the first thought but for the asked.
        assert found[fact].accuracy > 0.85
        assert found[fact].accuracy > found[fact].majority + 0.1
        assert found[fact].selectivity > 0.15


def test_names_come_a_thought_later() -> None:
    """Where steps are names the first thought stands for the asked entity, and the second for what is an edge away."""
    states = torch.cat([noise(len(CONCEPTS)), frontiers()], dim=1)
    found = {(one.fact, one.thought): one for one in probe_states(states, GRAPHS, seed=0, behind=1)}
    assert (
        found["on the frontier at k", 2].accuracy
        == by_fact(probe_states(frontiers(), GRAPHS, seed=0))["on the frontier at k"].accuracy
    )
    assert found["on the frontier at k", 1].majority == 1  # No concept is no edge away.


def test_noise_holds_nothing() -> None:
    for one in probe_states(noise(16), GRAPHS, seed=0):
        assert one.accuracy <= one.majority + 0.02
        assert one.selectivity == pytest.approx(one.accuracy - one.control)


def test_states_that_say_the_asked_entity_only_are_unselective() -> None:
    """They can be mapped to the control task's labels by heart, and hardly to the facts."""
    hot = torch.tensor([[float(graph.symbols[graph.root] == name) for name in ENTITIES] for graph in GRAPHS])
    found = probe_states(hot[:, None] * 4, GRAPHS, seed=0)
    assert by_fact(found)["on the frontier at k"].control > 0.95
    assert all(one.selectivity < 0 for one in found)


def test_cases_are_test_questions_times_their_concepts() -> None:
    few, many = probe_states(noise(4), GRAPHS, seed=0)[0].cases, sum(len(g.symbols) - len(g.entities) for g in GRAPHS)
    assert 0.2 * many < few < 0.4 * many
    assert probe_states(noise(4), GRAPHS, seed=0) == probe_states(noise(4), GRAPHS, seed=0)
    assert probe_states(noise(4), GRAPHS, seed=1) != probe_states(noise(4), GRAPHS, seed=0)


def test_each_thought_is_probed_for_its_own_facts() -> None:
    found = probe_states(frontiers().expand(-1, 2, -1), GRAPHS, seed=0)
    first, second = by_fact(found[: len(FACTS)]), by_fact(found[len(FACTS) :])
    assert {one.thought for one in second.values()} == {2}
    assert first["on the frontier at k"].selectivity > second["on the frontier at k"].selectivity + 0.1
    assert len(draw_probe(found).axes) == len(FACTS)


def test_ridge_separates_what_a_plane_separates_whatever_the_tasks_beside_it() -> None:
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(1))
    left, three = (
        (x[:, 0] > 0).int().tolist(),
        torch.bucketize(x[:, 1].contiguous(), torch.tensor([-0.5, 0.5])).tolist(),
    )
    found = ridge_classify(x[:200], [left[:200], three[:200]], x[200:])
    assert found[0] == ridge_classify(x[:200], [left[:200]], x[200:])[0]
    assert sum(a == b for a, b in zip(found[0], left[200:], strict=True)) > 95
    assert sum(a == b for a, b in zip(found[1], three[200:], strict=True)) > 75
    assert ridge_classify(x[:5], [[7] * 5], x[5:8]) == [[7] * 3]


def test_distances_to_the_target_are_put_in_buckets() -> None:
    chain = Graph(tuple("abcdefg"), ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)), 0, 5, 6)
    assert [to_target(chain, node, 1) for node in range(7)] == [FAR, FAR, FAR, 2, 1, 0, FAR + 1]


def test_too_few_questions() -> None:
    with pytest.raises(UserError, match="too few"):
        probe_states(noise(4)[:10], GRAPHS[:10], seed=0)
