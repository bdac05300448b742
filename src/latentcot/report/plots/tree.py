"""The search tree: the graph of one question with its values, and the values of a set by distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from latentcot.analysis.tree import Mass, NodeValue
from latentcot.data.graph import Graph
from latentcot.report.plots.style import GREY, INK, LIGHT, ORANGE, blank, decimals, grid, thoughts_label

Place = tuple[float, float]

SWEEPS = 8
"""Times that the nodes of all layers are put in the order of their neighbours' means, against crossings."""

COLUMNS = 2
SHADES = colormaps["Blues"]


def layered(graph: Graph) -> dict[int, Place]:
    """A place for every node that the asked one leads to: layers from left to right by distance, few crossings."""
    reached = graph.distances(graph.root)
    layers = [[node for node, steps in reached.items() if steps == layer] for layer in range(max(reached.values()) + 1)]
    places = {node: (float(x), _height(y, layer)) for x, layer in enumerate(layers) for y, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        neighbours = graph.parents if sweep % 2 == 0 else graph.children
        for x, layer in enumerate(layers):
            layer.sort(key=lambda node: _mean_height(neighbours[node], places, places[node][1]))
            places |= {node: (float(x), _height(y, layer)) for y, node in enumerate(layer)}
    return places


def _height(order: int, layer: Sequence[int]) -> float:
    return order - (len(layer) - 1) / 2


def _mean_height(nodes: Sequence[int], places: Mapping[int, Place], otherwise: float) -> float:
    heights = [places[node][1] for node in nodes if node in places]
    return sum(heights) / len(heights) if heights else otherwise


def draw_tree(values: Sequence[NodeValue], graph: Graph) -> Figure:
    """One question's graph, from the asked entity on, after each number of thoughts; darker nodes have more value."""
    numbers = sorted({value.thoughts for value in values})
    places = layered(graph)
    rows, columns = grid(len(numbers), COLUMNS)
    wide, high = (max(place[axis] for place in places.values()) for axis in (0, 1))
    figure = blank(columns * (1.2 + 0.85 * wide), rows * (1.1 + 1.0 * high) + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, number in zip(panels, numbers, strict=False):
        _draw_edges(panel, graph, places)
        _draw_nodes(panel, graph, places, {v.name: v.value for v in values if v.thoughts == number})
        panel.set_title(thoughts_label(number), fontsize=10)
        panel.set(xlim=(-0.55, wide + 0.55), ylim=(high + 0.75, -high - 0.5))
    for panel in panels:
        panel.set_axis_off()
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _draw_edges(panel: Axes, graph: Graph, places: Mapping[int, Place]) -> None:
    reached, shortest = graph.distances(graph.root), graph.on_shortest_paths()
    for parent, child in graph.edges:
        if parent in places:
            step = reached[child] - reached[parent]
            right = parent in shortest and child in shortest and step == 1
            panel.add_patch(
                FancyArrowPatch(
                    places[parent], places[child], arrowstyle="-|>", mutation_scale=7, shrinkA=8, shrinkB=8,
                    connectionstyle=f"arc3,rad={0 if step == 1 else 0.25}", color=INK if right else "#b8c2c9",
                    linewidth=1.4 if right else 0.8, zorder=1,
                )
            )  # fmt: skip


def _draw_nodes(panel: Axes, graph: Graph, places: Mapping[int, Place], values: Mapping[str, float]) -> None:
    for node, (x, y) in places.items():
        name = graph.symbols[node]
        value = values.get(name)
        panel.plot(
            x, y, marker={graph.root: "s", graph.target: "D"}.get(node, "o"), markersize=15,
            color=LIGHT if value is None else SHADES(0.05 + 0.9 * value),
            markeredgecolor=ORANGE if node == graph.target else GREY,
            markeredgewidth=2.2 if node == graph.target else 0.8, zorder=2,
        )  # fmt: skip
        panel.text(
            x, y + 0.33, name, ha="center", va="top", fontsize=7, color=INK, zorder=3, parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
        )  # fmt: skip
        if value is not None and value >= 0.005:
            shade = "white" if value > 0.5 else INK
            panel.text(x, y, decimals(value), ha="center", va="center", fontsize=6.5, color=shade, zorder=4)
    elsewhere = sum(values.values()) - sum(values.get(graph.symbols[node], 0.0) for node in places)
    if elsewhere >= 0.005:
        panel.text(
            1, 0, f"on nodes that {graph.symbols[graph.root]} does not lead to: {decimals(elsewhere)}", fontsize=7,
            color=GREY, ha="right", va="bottom", transform=panel.transAxes, parse_math=False,
        )  # fmt: skip


def _legend() -> list[Line2D]:
    def sign(marker: str, label: str, edge: str = GREY, width: float = 0.8) -> Line2D:
        return Line2D(
            [], [], marker=marker, linestyle="none", markersize=8, markerfacecolor="white", markeredgecolor=edge,
            markeredgewidth=width, label=label,
        )  # fmt: skip

    return [
        sign("s", "asked entity"),
        sign("D", "right option", ORANGE, 2),
        sign("o", "concept, dark by value"),
        Line2D([], [], color=INK, linewidth=1.4, label="shortest path"),
    ]


def draw_masses(masses: Sequence[Mass]) -> Figure:
    """Over a set: how much value lies at which distance from the asked node after each number of thoughts."""
    numbers = sorted({mass.thoughts for mass in masses})
    distances = list(dict.fromkeys(mass.distance for mass in masses))
    cells = {(mass.thoughts, mass.distance): mass.value for mass in masses}
    table = [[cells[number, distance] for distance in distances] for number in numbers]
    figure = blank(1.6 + 0.62 * len(distances), 1.3 + 0.42 * len(numbers))
    axes = figure.subplots()
    axes.imshow(table, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            axes.text(
                x, y, decimals(value), ha="center", va="center", fontsize=8, color="white" if value > 0.5 else INK
            )
    axes.set_xticks(range(len(distances)), ["not\nreached" if d is None else str(d) for d in distances])
    axes.set_yticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set(xlabel="edges from the asked entity", ylabel="thoughts")
    return figure
