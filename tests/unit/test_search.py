"""What is made of candidates' values: tree, race, parallelism, height; and their figures."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcot.analysis.height import heights
from latentcot.analysis.parallelism import parallelism
from latentcot.analysis.race import standings
from latentcot.analysis.tree import NodeValue, by_distance, search_tree
from latentcot.analysis.values import Value
from latentcot.core import Example, UserError
from latentcot.data import prosqa
from latentcot.data.graph import Graph, graph_of
from latentcot.report.plots.search import draw_heights, draw_parallelism
from latentcot.report.plots.tree import draw_masses, draw_tree, layered

# Tom -> a -> b -> c, a -> d, Tom -> e, and Sam -> f apart.
SYMBOLS = ("Tom", "Sam", "a", "b", "c", "d", "e", "f")
EDGES = ((0, 2), (2, 3), (3, 4), (2, 5), (0, 6), (1, 7))
GRAPH = Graph(SYMBOLS, EDGES, root=0, target=4, neg_target=7)


def example_of(graph: Graph) -> Example:
    extra = {"idx_to_symbol": list(graph.symbols), "edges": [list(edge) for edge in graph.edges]}
    nodes = {"root": graph.root, "target": graph.target, "neg_target": graph.neg_target}
    return Example("?", (), "Tom is a c.", extra | nodes)


def test_heights_on_a_graph_made_by_hand() -> None:
    by_name = dict(zip(SYMBOLS, GRAPH.heights(), strict=True))
    assert by_name == {"Tom": 1, "Sam": 1, "a": 1, "b": 1, "c": 0, "d": 0, "e": 0, "f": 0}
    by_name = dict(zip(SYMBOLS, GRAPH.heights(longest=True), strict=True))
    assert by_name == {"Tom": 3, "Sam": 1, "a": 2, "b": 1, "c": 0, "d": 0, "e": 0, "f": 0}


def leaf_walks(graph: Graph, node: int) -> list[int]:
    """Lengths of all walks from a node to a leaf."""
    if not graph.children[node]:
        return [0]
    return [1 + length for child in graph.children[node] for length in leaf_walks(graph, child)]


@given(st.integers(2, 7).flatmap(lambda n: st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))))
def test_heights_are_the_shortest_and_longest_walks_to_leaves(pairs: set[tuple[int, int]]) -> None:
    edges = tuple((a, b) for a, b in sorted(pairs) if a < b)
    graph = Graph(tuple("abcdefg"), edges, 0, 1, 1)
    assert graph.heights() == [min(leaf_walks(graph, node)) for node in range(7)]
    assert graph.heights(longest=True) == [max(leaf_walks(graph, node)) for node in range(7)]


def test_a_cycle_has_no_height() -> None:
    with pytest.raises(UserError, match="cycle"):
        replace(GRAPH, edges=(*EDGES, (4, 2))).heights()


def test_shortest_paths_are_where_the_distances_add_up() -> None:
    assert GRAPH.on_shortest_paths() == {0, 2, 3, 4}
    assert replace(GRAPH, target=7).on_shortest_paths() == set()


VALUES = [
    Value(0, 1, name, value, name == "a")
    for name, value in {"a": 0.5, "b": 0.1, "c": 0.05, "d": 0.05, "e": 0.2, "f": 0.1}.items()
]


def test_the_tree_knows_how_far_each_node_is_and_its_masses_add_up() -> None:
    tree = search_tree(VALUES, [example_of(GRAPH)])
    assert {value.name: value.distance for value in tree} == {"a": 1, "b": 2, "c": 3, "d": 2, "e": 1, "f": None}
    masses = {mass.distance: mass.value for mass in by_distance(tree)}
    assert masses == pytest.approx({1: 0.7, 2: 0.15, 3: 0.05, None: 0.1})
    twice = by_distance([*tree, *(replace(value, index=1) for value in tree)])
    assert {mass.distance: mass.value for mass in twice} == pytest.approx(masses)


def test_a_race_has_a_winner() -> None:
    (standing,) = standings(VALUES)
    assert (standing.right, standing.rival, standing.rest, standing.led) == pytest.approx((0.5, 0.2, 0.3, 1.0))
    lost = [replace(value, index=1, right=value.name == "b") for value in VALUES]
    (both,) = standings([*VALUES, *lost])
    assert (both.right, both.rival, both.led) == pytest.approx((0.3, 0.35, 0.5))


def test_frontiers_and_what_is_correct_on_them() -> None:
    tree = search_tree([*VALUES, *(replace(value, thoughts=2) for value in VALUES)], [example_of(GRAPH)])
    found = [(n.thoughts, n.name, n.height, n.correct) for n in heights(tree, [example_of(GRAPH)], "longest")]
    assert found == [(1, "a", 2, True), (1, "e", 0, False), (2, "b", 1, True), (2, "d", 0, False)]


@given(st.lists(st.lists(st.floats(0, 0.2), min_size=1, max_size=5), min_size=1, max_size=6))
def test_parallel_curves_rise_and_stand_in_order(questions: list[list[float]]) -> None:
    values = [Value(i, 1, str(j), v, False) for i, one in enumerate(questions) for j, v in enumerate(one)]
    points = parallelism(values)
    assert len(points) == len(questions)
    assert all(0 <= p.top1 <= p.top2 <= p.top3 <= 1 for p in points)
    for before, after in pairwise(points):
        assert before.percentile < after.percentile
        assert all(getattr(before, top) <= getattr(after, top) for top in ("top1", "top2", "top3"))
    assert points[-1].top1 == max(max(one) for one in questions)
    assert {points[0].percentile, points[-1].percentile} <= {0.0, 100.0}


def crossings(places: dict[int, tuple[float, float]], graph: Graph) -> int:
    edges = [(places[a], places[b]) for a, b in graph.edges if a in places and places[b][0] - places[a][0] == 1]
    return sum(
        a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0 for i, (a, b) in enumerate(edges) for c, d in edges[:i]
    )


def test_a_layered_layout_gives_each_node_a_place_of_its_own_and_avoids_crossings() -> None:
    total, plain = 0, 0
    for example in prosqa.make_splits({"valid": 20}, seed=2, nodes=16)["valid"]:
        graph = graph_of(example)
        reached, places = graph.distances(graph.root), layered(graph)
        assert {node: x for node, (x, _) in places.items()} == reached
        assert len(set(places.values())) == len(places)
        in_order = {node: (x, float(node)) for node, x in reached.items()}
        total, plain = total + crossings(places, graph), plain + crossings(in_order, graph)
    assert total < plain


def test_figures_have_a_panel_for_each_number_of_thoughts() -> None:
    tree = search_tree([*VALUES, *(replace(value, thoughts=2) for value in VALUES)], [example_of(GRAPH)])
    titles = [axes.get_title() for axes in draw_tree(tree, GRAPH).axes]
    assert titles == ["1 thought", "2 thoughts"]
    nodes = heights(tree, [example_of(GRAPH)], "shortest")
    assert [axes.get_title() for axes in draw_heights(nodes, "shortest").axes] == [
        "after 1 thought",
        "after 2 thoughts",
    ]
    assert len(draw_parallelism(parallelism(tree)).axes) == 2
    cells = [text.get_text() for text in draw_masses(by_distance(tree)).axes[0].texts]
    assert cells == [".70", ".15", ".05", ".10"] * 2


def test_a_tree_names_the_nodes_it_reaches_and_writes_the_values() -> None:
    values = [NodeValue(**vars(value), distance=None) for value in VALUES]
    (panel,) = draw_tree(values, GRAPH).axes
    written = [text.get_text() for text in panel.texts]
    assert {"Tom", "a", "b", "c", "d", "e"} < set(written)
    assert "f" not in written
    assert written.count(".50") == 1
    assert written[-1] == "on nodes that Tom does not lead to: .10"
