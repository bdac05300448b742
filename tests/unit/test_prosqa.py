"""Generated ProsQA: valid, disjoint, reproducible, and like the published files."""

import hashlib
import itertools
import re
from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import pytest

from latentcot.core import Example, UserError
from latentcot.data import prosqa
from latentcot.data.graph import graph_faults, graph_of
from latentcot.data.prosqa import CONCEPTS, NAMES, PUBLISHED, make_splits, statistics
from latentcot.data.records import read, write
from latentcot.data.splits import split
from tests.unit.sampling import BATCH, far_off

FILE = Path(__file__).parents[3] / "shared/data/prosqa/prosqa_valid.json"


@pytest.fixture(scope="module")
def published():
    if not FILE.exists():
        pytest.skip(f"{FILE} is not here")
    return read(FILE)


@pytest.fixture(scope="module")
def generated():
    return make_splits({"train": 20 * BATCH}, seed=0)["train"]


def solve(question: str) -> tuple[str, int]:
    """The right option and its distance, from the text alone: spread from the asked entity."""
    *facts, query = question.split(". ")
    asked, *options = re.fullmatch(r"Is (\w+) a (\w+) or (\w+)\?", query).groups()
    edges = [re.fullmatch(r"(?:Every )?(\w+) is a (\w+)", fact).groups() for fact in facts]
    layers, seen = [{asked}], {asked}
    while layers[-1]:
        layers.append({b for a, b in edges if a in layers[-1]} - seen)
        seen |= layers[-1]
    (right,) = [option for option in options if option in seen]
    return right, next(hops for hops, layer in enumerate(layers) if right in layer)


def check_form(examples, hops=range(3, 7)):
    """The published form: the text alone gives the answer in as many hops as there are steps."""
    for example in examples:
        asked, right = example.answer.removesuffix(".").split(" is a ")
        assert solve(example.question) == (right, len(example.steps))
        assert len(example.steps) in hops
        assert graph_faults(example) == []
        *facts, _ = example.question.split(". ")
        assert len(set(facts)) == len(facts) == len(example.extra["edges"])
        assert example.steps[0].startswith(f"{asked} is a ")
        for fact in facts:
            words = fact.split()
            assert words[-4 if words[0] == "Every" else 0] in (CONCEPTS if words[0] == "Every" else [*NAMES, "Every"])
            assert words[-1] in CONCEPTS


def test_published_questions_have_the_form_that_is_checked(published):
    check_form(published)


def test_generated_questions_have_the_published_form(generated):
    check_form(generated[:1000])


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": 6, "hops": (3, 3)},
        {"nodes": 10},
        {"nodes": 28, "hops": (1, 2)},
        {"nodes": 40, "hops": (7, 8)},
        {"hops": (7, 7)},
        {"hops": (8, 8)},
        {"parents": 2.5},
        {"entities": 15},
        {"hops": (7, 8), "parents": 2.0, "entities": 4},
    ],
    ids=str,
)
def test_other_options_give_valid_questions(options):
    low, high = options.get("hops", (3, 6))
    for seed in range(5):
        check_form(make_splits({"test": 5}, seed, **options)["test"], range(low, high + 1))


def test_more_parents_make_denser_graphs(generated):
    dense = make_splits({"test": 100}, 0, parents=3)["test"]
    ours, default = (statistics(examples) for examples in (dense, generated))
    assert ours["edges"] / ours["nodes"] > 1.3 * default["edges"] / default["nodes"]
    assert ours["in-degree 1"] < default["in-degree 1"]


def test_further_entities_come_on_top_of_the_others(generated):
    """8 more on average within 4 standard errors, each with a name and a fact, placed among the other nodes."""
    graphs = [graph_of(example) for example in make_splits({"test": 400}, 0, entities=8)["test"]]
    before = [len(graph_of(example).entities) for example in generated]
    after = [len(graph.entities) for graph in graphs]
    assert min(after) >= 10
    error = sqrt(stdev(before) ** 2 / len(before) + stdev(after) ** 2 / len(after))
    assert abs(fmean(after) - fmean(before) - 8) < 4 * error
    for graph in graphs:
        assert {graph.symbols[node] for node in graph.entities} <= set(NAMES)
        assert all(graph.children[node] for node in graph.entities)
        assert all(parent < child for parent, child in graph.edges)
        assert graph.edges == tuple(sorted(graph.edges, key=lambda edge: edge[1]))
    places = [node / len(graph.symbols) for graph in graphs for node in graph.entities - {0, 1}]
    assert min(places) < 0.1
    assert max(places) > 0.8


def test_the_default_questions_of_a_seed_stay_the_same(tmp_path):
    write(tmp_path / "test.json", make_splits({"test": 20}, 0)["test"])
    found = hashlib.sha256((tmp_path / "test.json").read_bytes()).hexdigest()
    assert found == "0edc96304a3826a58d7af9a4db349438b1bd672cce58a65d7d73eccdc9ff2091"


def test_keys_of_the_record_are_the_published_ones(generated, published):
    assert list(generated[0].extra) == list(published[0].extra)
    assert {type(value) for value in generated[0].extra.values()} == {list, int}


ROWS = PUBLISHED.keys() - {"nodes max"}  # an extreme, so not within an error


def test_statistics_are_those_of_the_800_published_questions(generated):
    assert far_off(statistics, generated, PUBLISHED, 800, ROWS) == {}
    assert statistics(generated)["nodes max"] == PUBLISHED["nodes max"] == 28


def test_statistics_are_those_of_the_published_validation_file(generated, published):
    assert far_off(statistics, generated, statistics(published), len(published), ROWS) == {}
    assert statistics(published)["nodes max"] == 28


def test_what_the_table_does_not_show_is_as_published(generated, published):
    """Node 1 has more descendants than node 0, whichever asks; a descendant of both has few children."""

    def numbers(example):
        graph = graph_of(example)
        first, second = (set(graph.distances(root)) for root in (0, 1))
        children = sum(len(graph.children[node]) for node in first & second)
        return len(first - second), len(second - first), children

    ours, theirs = (list(zip(*map(numbers, examples), strict=True)) for examples in (generated, published))
    for our, their in zip(ours, theirs, strict=True):
        assert abs(fmean(our) - fmean(their)) < 4 * stdev(our) * sqrt(1 / len(our) + 1 / len(their))


def test_the_right_option_comes_first_as_often_as_last(generated):
    """Within 4 standard errors of 4,000 tosses of a coin."""
    first = sum(f"a {example.answer.removesuffix('.').split()[-1]} or " in example.question for example in generated)
    assert abs(first / len(generated) - 0.5) < 4 * 0.5 / sqrt(len(generated))


def test_facts_stand_in_no_order(generated):
    """The graph's first edge is on average in the middle of the text, within 4 standard errors."""
    places = []
    for example in generated:
        facts = example.question.split(". ")[:-1]
        child = example.extra["idx_to_symbol"][example.extra["edges"][0][1]]
        first = [place for place, fact in enumerate(facts) if fact.endswith(f" a {child}")]
        places.append(fmean(first) / (len(facts) - 1))
    assert abs(fmean(places) - 0.5) < 4 * stdev(places) / sqrt(len(places))


def test_options_are_chosen_by_lot(generated):
    """As in the published file: of the leaves that would do, none is preferred by its number."""
    ranks = {"target": [], "neg_target": []}
    for example in generated:
        graph = graph_of(example)
        own, other = (graph.distances(node) for node in (graph.root, 1 - graph.root))
        leaves = [node for node, children in enumerate(graph.children) if not children]
        farthest = [node for node in leaves if own.get(node) == len(example.steps) and node not in other]
        wrong = [node for node in leaves if node in other and node not in own]
        for key, fit in (("target", farthest), ("neg_target", wrong)):
            if len(fit) > 1:
                ranks[key].append(fit.index(example.extra[key]) / (len(fit) - 1))
    for places in ranks.values():
        assert abs(fmean(places) - 0.5) < 4 * stdev(places) / sqrt(len(places))


def test_the_same_seed_gives_the_same_questions():
    sizes = {"train": 20, "valid": 5}
    assert make_splits(sizes, 1) == make_splits(sizes, 1)
    assert make_splits(sizes, 1) != make_splits(sizes, 2)


def test_other_splits_do_not_change_with_the_size_of_train():
    small = make_splits({"train": 5, "valid": 10, "test": 10}, seed=4)
    large = make_splits({"test": 10, "train": 50, "valid": 10}, seed=4)
    assert small["valid"] == large["valid"]
    assert small["test"] == large["test"]
    assert small["train"] == large["train"][:5]
    assert list(large) == ["test", "train", "valid"]


def test_no_graph_stands_twice():
    made = make_splits({"train": 300, "valid": 100}, seed=0, nodes=6, hops=(1, 1))
    keys = Counter(frozenset(example.question.split(". ")[:-1]) for examples in made.values() for example in examples)
    assert max(keys.values()) == 1


def number(rng):
    value = rng.randrange(30)
    return value, Example(str(value), (), "x")


def test_splits_share_nothing_and_can_use_a_task_up():
    made = split({"train": 20, "valid": 5, "test": 5}, number, seed=0)
    assert {name: len(examples) for name, examples in made.items()} == {"train": 20, "valid": 5, "test": 5}
    assert sorted(int(example.question) for examples in made.values() for example in examples) == list(range(30))


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({"train": 21, "valid": 5, "test": 5}, "train: only 20 of 21 questions are new"),
        ({"train": 1, "valid": 0}, "valid is 0: ask for 1"),
        ({"train": -1}, "train is -1: ask for 1"),
    ],
)
def test_impossible_sizes_are_refused(sizes, fault):
    with pytest.raises(UserError, match=fault):
        split(sizes, number, seed=0)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"hops": (4, 3)}, "hops is 4 to 3"),
        ({"hops": (0, 3)}, "hops is 0 to 3"),
        ({"nodes": 5}, "nodes is 5: give 6 or more"),
        ({"parents": 0}, "parents is 0"),
        ({"parents": float("nan")}, "parents is nan"),
        ({"entities": -1}, "entities is -1: give 0 to 15"),
        ({"entities": 16}, "entities is 16: give 0 to 15"),
        ({"nodes": 8, "parents": 1e-9}, "change nodes, parents, entities or hops"),
        ({"nodes": 8, "parents": 1e-9, "entities": 3}, "change nodes, parents, entities or hops"),
    ],
)
def test_senseless_options_are_refused(options, fault, monkeypatch):
    monkeypatch.setattr(prosqa, "TRIES", 200)
    with pytest.raises(UserError, match=fault):
        make_splits({"train": 1}, 0, **options)


def test_statistics_of_a_graph_counted_by_hand():
    extra = {
        "idx_to_symbol": ["Tom", "Sam", "apus", "bpus", "cpus", "dpus", "Max"],
        "edges": [[0, 2], [0, 3], [2, 4], [3, 4], [1, 5], [3, 5], [6, 5]],
        "root": 0,
        "target": 4,
        "neg_target": 5,
    }
    steps = ("Tom is a apus.", "Every apus is a cpus.")
    assert statistics([Example("", steps, "", extra)]) == pytest.approx(
        {
            **{"nodes": 7, "nodes sd": 0, "nodes max": 7, "edges": 7, "entities": 3},
            **{
                "in-degree 0": 0.2,
                "in-degree 1": 0.4,
                "in-degree 2": 0.2,
                "in-degree 3": 0.2,
                "in-degree 4": 0,
            },
            **{"label own": 0.6, "label other": 0, "label both": 0.2, "label neither": 0.2},
            **{"2 steps": 1, "3 steps": 0, "4 steps": 0, "5 steps": 0, "6 steps": 0},
            **{"shortest paths": 2, "asker is node 0": 1},
        }
    )


GRAPH = {
    "idx_to_symbol": ["Tom", "Sam", "apus", "bpus", "cpus"],
    "edges": [[0, 2], [2, 3], [1, 4], [0, 3]],
    "root": 0,
    "target": 3,
    "neg_target": 4,
}
SOUND = Example(
    "Tom is a apus. Every apus is a bpus. Sam is a cpus. Tom is a bpus. Is Tom a cpus or bpus?",
    ("Tom is a bpus.",),
    "Tom is a bpus.",
    GRAPH,
)


def with_extra(**keys):
    return replace(SOUND, extra={key: value for key, value in (GRAPH | keys).items() if value is not None})


@pytest.mark.parametrize(
    ("example", "fault"),
    [
        (with_extra(root=None), '"root" is missing'),
        (with_extra(target=5), '"target" is 5: give a node from 0 to 4'),
        (with_extra(target=True), '"target" is True'),
        (with_extra(neg_target="cpus"), "\"neg_target\" is 'cpus'"),
        (with_extra(edges=[[0, 2], [2, -1]]), '"edges" has [2, -1]'),
        (with_extra(edges=[[0, 2, 3]]), '"edges" has [0, 2, 3]'),
        (with_extra(edges={}), '"edges" is not a list'),
        (with_extra(idx_to_symbol=[1]), '"idx_to_symbol" is not a list of texts'),
        (with_extra(idx_to_symbol=["Tom", "Tom"]), '"idx_to_symbol" has a name twice'),
        (with_extra(edges=GRAPH["edges"][:3]), 'the fact "Tom is a bpus." is not in the graph'),
        (with_extra(edges=[*GRAPH["edges"], [2, 4]]), "a path leads from Tom to the wrong option cpus"),
        (with_extra(edges=[[2, 3], [1, 4]]), "no path leads from Tom to the right option bpus"),
        (replace(SOUND, question="Every apus is a bpus. Is Tom a cpus or bpus?"), "states no fact about Tom"),
        (
            replace(SOUND, question=SOUND.question.replace("Sam is a cpus. ", "")),
            'the edge "Sam is a cpus." is not',
        ),
        (replace(SOUND, question=SOUND.question.replace("cpus or bpus", "cpus or apus")), "does not end in"),
        (replace(SOUND, answer="Tom is a cpus."), 'the answer is not "Tom is a bpus."'),
        (replace(SOUND, steps=("Tom is a cpus.",)), 'the step "Tom is a cpus." is not an edge'),
        (replace(SOUND, steps=("Every apus is a bpus.",)), "the steps are not a path"),
        (replace(SOUND, steps=("Tom is a apus.",)), "the steps are not a path"),
        (replace(SOUND, steps=("Tom is a apus.", "Every apus is a bpus.")), "2 steps where 1 lead there"),
    ],
)
def test_graph_faults(example, fault):
    assert graph_faults(SOUND) == graph_faults(replace(SOUND, steps=())) == []
    found = graph_faults(example)
    assert any(fault in line for line in found), found
    assert all("\n" not in line and ": " in line for line in found)


def test_named_steps_are_the_names_along_the_path(generated):
    for example in generated:
        found = prosqa.named(example)
        graph = graph_of(example)
        path = [graph.symbols.index(step.removeprefix(" ")) for step in found.steps]
        assert path[0] == graph.root
        assert path[-1] == graph.target
        assert len(path) == len(example.steps) + 1
        assert [graph.fact(edge) for edge in itertools.pairwise(path)] == list(example.steps)
        assert graph_faults(found) == []
        assert replace(found, steps=example.steps) == example


def test_named_steps_that_are_no_path_are_a_fault(generated):
    found = prosqa.named(generated[0])
    assert graph_faults(replace(found, steps=found.steps[:-1]))
    assert graph_faults(replace(found, steps=(found.steps[0], *found.steps[2:])))


@pytest.mark.parametrize("steps", [(), ("2 + 3 = 5",), ("Tom is a yumpus.", "Every lempus is a gorpus.")])
def test_steps_that_are_no_facts_in_a_row_have_no_names(steps):
    with pytest.raises(UserError, match="not facts in a row"):
        prosqa.named(Example("?", steps, "5"))
