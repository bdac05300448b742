"""Value against height: nodes near a leaf are easier to judge (section 5 of the paper, "the latent search tree").

After k thoughts the search stands on the nodes at k edges from the asked one. Those that lead to the target are
correct, the others are not. The lower a node, the farther apart the values of the two should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latentcot.analysis.tree import NodeValue
from latentcot.core import Example
from latentcot.data.graph import distances, graph_of

Definition = Literal["shortest", "longest"]
"""Height as the edges to the nearest leaf (the paper's text) or to the farthest (a caption in it)."""


@dataclass(frozen=True)
class NodeHeight:
    """A node on the frontier of the search after so many thoughts."""

    index: int
    thoughts: int
    name: str
    height: int
    correct: bool
    """Whether it leads to the target."""
    value: float


def heights(values: Sequence[NodeValue], examples: Sequence[Example], definition: Definition) -> list[NodeHeight]:
    """Height and value of every node on a frontier. UserError if a graph has a cycle."""
    graphs = [graph_of(example) for example in examples]
    high = [dict(zip(g.symbols, g.heights(longest=definition == "longest"), strict=True)) for g in graphs]
    leading = [{g.symbols[node] for node in distances(g.parents, g.target)} for g in graphs]
    return [
        NodeHeight(v.index, v.thoughts, v.name, high[v.index][v.name], v.name in leading[v.index], v.value)
        for v in values
        if v.distance == v.thoughts
    ]
