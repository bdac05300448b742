"""What all figures share: colours that are told apart without colour vision, and the two ways out of matplotlib."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, BLUE, PALE, GREY, LIGHT = "#1d2730", "#00558a", "#b9cfdd", "#6d7a84", "#dde4e9"
SKY, ORANGE, GREEN, VERMILION, PINK = "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
"""The second line is of Okabe and Ito's palette."""

SERIES = (BLUE, ORANGE, GREEN, PINK, VERMILION, SKY, INK, GREY)
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def blank(width: float, height: float) -> Figure:
    """A figure of so many inches that no global state knows of."""
    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> str:
    """The figure as an SVG element, without the XML prologue, so that it can stand within a page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "latentcot"}):  # The same figure gives the same text.
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def grid(panels: int, most: int) -> tuple[int, int]:
    """Rows and columns for so many panels, at most `most` in a row and the last row as full as can be."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def thoughts_label(number: int) -> str:
    """`1 thought`, `2 thoughts`."""
    return f"{number} thought{'' if number == 1 else 's'}"


def decimals(value: float) -> str:
    """A share or a cosine in two decimals, as short as it goes: .33, 1, -.06."""
    text = f"{abs(value):.2f}".removeprefix("0")
    return ("-" if value < 0 and text != ".00" else "") + ("1" if text == "1.00" else text)


def plain(axes: Axes) -> None:
    """Only the left and lower border."""
    axes.spines[["top", "right"]].set_visible(False)


def printable(token: str) -> str:
    """A token as a figure can show it: a line break, or nothing at all, would not be seen."""
    return token if token.strip() and token.isprintable() else repr(token)
