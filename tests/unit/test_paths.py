"""Outcome classes, checked against every path of small graphs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcot.core import Example, UserError
from latentcot.data.graph import Graph, graph_of
from latentcot.data.prosqa import make_splits
from latentcot.data.records import read
from latentcot.evaluation.paths import Outcome, outcome, outcomes

PUBLISHED = Path(__file__).parents[3] / "shared/data/prosqa/prosqa_valid.json"

# Tom -> a -> b -> t, a short cut a -> t, b -> d, and Sam -> w -> d, of which Tom reaches only d.
SYMBOLS = ["Tom", "Sam", "apus", "bpus", "tpus", "dpus", "wpus"]
EDGES = [[0, 2], [2, 3], [3, 4], [2, 4], [3, 5], [1, 6], [6, 5]]
TOM = Example(
    "",
    ("Tom is a apus.", "Every apus is a tpus."),
    "Tom is a tpus.",
    {"idx_to_symbol": SYMBOLS, "edges": EDGES, "root": 0, "target": 4, "neg_target": 6},
)
GOLD = "### Tom is a tpus."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # whole paths
        (f"Tom is a apus.\nEvery apus is a tpus.\n{GOLD}", "correct_path"),
        (f"Tom is a apus.\nEvery apus is a bpus.\nEvery bpus is a tpus.\n{GOLD}", "longer_path"),
        (f"Tom is a apus.\nEvery apus is a bpus.\nEvery bpus is a dpus.\n{GOLD}", "wrong_target"),
        (f"Tom is a apus.\n{GOLD}", "wrong_target"),
        (f"Tom is a apus.\nEvery bpus is a tpus.\n{GOLD}", "hallucination"),
        (f"Tom is a tpus.\n{GOLD}", "hallucination"),
        (f"Sam is a wpus.\nEvery wpus is a dpus.\n{GOLD}", "hallucination"),
        # paths whose beginning thoughts have replaced
        (f"Every apus is a tpus.\n{GOLD}", "correct_path"),
        (f"Every bpus is a tpus.\n{GOLD}", "longer_path"),
        (f"Every bpus is a dpus.\n{GOLD}", "wrong_target"),
        (f"Every wpus is a dpus.\n{GOLD}", "hallucination"),
        (f"Every tpus is a apus.\n{GOLD}", "hallucination"),
        # the label after a path does not matter, nor do blank lines and outer space
        ("Every apus is a tpus.\n### Tom is a wpus.", "correct_path"),
        ("\n  Every apus is a tpus. \n\n\n###", "correct_path"),
        # lines that are no facts
        (f"Every Tom is a apus.\nEvery apus is a tpus.\n{GOLD}", "hallucination"),
        (f"Every apus is an tpus.\n{GOLD}", "hallucination"),
        (f"apus apus apus\n{GOLD}", "hallucination"),
        (f"Every apus is a tpus. Every tpus\n{GOLD}", "hallucination"),
        # without a label
        ("Tom is a apus.\nEvery apus is a tpus.", "correct_path"),
        ("Tom is a apus.\nEvery apus is", "hallucination"),
        ("Tom is a tpus.", "hallucination"),
        # names in one line
        (f"Tom apus tpus\n{GOLD}", "correct_path"),
        (f"Tom apus bpus tpus\n{GOLD}", "longer_path"),
        (f" apus bpus\n{GOLD}", "wrong_target"),
        (f" tpus\n{GOLD}", "correct_path"),
        (f"Tom bpus\n{GOLD}", "hallucination"),
        (f"wpus dpus\n{GOLD}", "hallucination"),
        (f"Tom xpus\n{GOLD}", "hallucination"),
        ("Tom apus tpus", "correct_path"),
        # without a path
        (GOLD, "correct_label"),
        ("\n###Tom is a tpus.\n", "correct_label"),
        ("### Tom is a wpus.", "incorrect_label"),
        ("###", "incorrect_label"),
        ("", "incorrect_label"),
        (" \n", "incorrect_label"),
    ],
)
def test_classes(text, expected):
    assert outcome(text, TOM) == Outcome(expected)


def every_path(graph: Graph, start: int) -> list[list[tuple[int, int]]]:
    """Every path of one edge or more from a node of a graph without cycles."""
    paths = []
    for child in graph.children[start]:
        paths += [[(start, child)], *([(start, child), *rest] for rest in every_path(graph, child))]
    return paths


def reference(written: list[tuple[int, int]], graph: Graph) -> str:
    """The class by its definition: look for whole paths from the root that end as the written one does."""
    whole = every_path(graph, graph.root)
    right = [path for path in whole if path[-1][1] == graph.target]
    completed = [path for path in whole if path[-len(written) :] == written]
    if not completed:
        return "hallucination"
    if written[-1][1] != graph.target:
        return "wrong_target"
    return "correct_path" if min(map(len, completed)) == min(map(len, right)) else "longer_path"


@st.composite
def written_paths(draw):
    """A DAG with an asked node and a target, and edges as a model might write them: mostly a path."""
    count = draw(st.integers(3, 7))
    possible = [(a, b) for b in range(count) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(possible), min_size=1, unique=True))
    graph = Graph(
        tuple(f"n{node}" for node in range(count)),
        tuple(edges),
        *(draw(st.integers(0, count - 1)) for _ in range(3)),
    )
    walks = [path for node in range(count) for path in every_path(graph, node)]
    jumps = st.lists(st.sampled_from(possible), min_size=1, max_size=4)
    return graph, draw(st.one_of(st.sampled_from(walks), st.sampled_from(walks), jumps))


@settings(max_examples=500)
@given(written_paths())
def test_completion_agrees_with_the_enumeration_of_every_path(case):
    graph, written = case
    extra = {
        "idx_to_symbol": list(graph.symbols),
        "edges": [list(edge) for edge in graph.edges],
        "root": graph.root,
        "target": graph.target,
        "neg_target": graph.neg_target,
    }
    text = "\n".join(graph.fact(edge) for edge in written) + "\n### n0 is a n1."
    assert outcome(text, Example("", (), "", extra)) == reference(written, graph)


def check_gold(examples):
    """Every ending of the gold chain is a correct path; with a line cut out of its middle it is none."""
    for example in examples:
        for removed in range(len(example.steps)):
            text = "".join(f"{step}\n" for step in example.steps[removed:]) + f"### {example.answer}"
            assert outcome(text, example) is Outcome.CORRECT_PATH
        assert outcome(f"### {example.answer}", example) is Outcome.CORRECT_LABEL
        assert outcome("\n".join([example.steps[0], *example.steps[2:]]), example) is Outcome.HALLUCINATION
        assert outcome("\n".join(example.steps[:-1]), example) is Outcome.WRONG_TARGET
        asked, wrong = (graph_of(example).symbols[example.extra[key]] for key in ("root", "neg_target"))
        assert outcome(f"### {asked} is a {wrong}.", example) is Outcome.INCORRECT_LABEL


def test_the_gold_chain_of_generated_questions():
    check_gold(make_splits({"valid": 100}, seed=3)["valid"])


def test_the_gold_chain_of_published_questions():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    check_gold(read(PUBLISHED))


def test_shares_name_every_class_and_sum_to_one():
    shares = outcomes([(GOLD, TOM), (GOLD, TOM), ("###", TOM), ("Every apus is a tpus.", TOM)])
    assert list(shares) == [str(kind) for kind in Outcome]
    assert shares["correct_label"] == 0.5
    assert sum(shares.values()) == 1


def test_without_answers_or_graphs_there_are_no_classes():
    with pytest.raises(UserError, match="no answers"):
        outcomes([])
    with pytest.raises(UserError, match="idx_to_symbol"):
        outcome(GOLD, Example("1+1?", (), "2"))
