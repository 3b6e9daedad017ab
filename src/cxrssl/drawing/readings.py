"""Boxes as readers drew them, and fused: the paper's figure 1.

Shapes: H, W are a picture's height and width in pixels; N boxes as drawn, M fused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cxrssl.core.boxes import Boxes
from cxrssl.core.images import Pixels

Stroke = Literal["-", "--", ":"]

TITLE = "boxes as readers drew them, and fused"
# Okabe and Ito's colours keep apart for every kind of colour vision.
_HUES = ("#E69F00", "#56B4E9", "#CC79A7")
# After three readers the hues come again with another stroke.
_ALL_STROKES: tuple[Stroke, ...] = ("-", "--", ":")
_READERS = [(hue, stroke) for stroke in _ALL_STROKES for hue in _HUES]
FUSED = "#F0E442"
# How a fused box is drawn by the number of its readers, so that colour is not needed to tell.
_STROKES: dict[int, tuple[Stroke, float, str]] = {
    1: (":", 1.4, "1 reader"),
    2: ("--", 1.6, "2 readers"),
    3: ("-", 2.2, "3 or more"),
}
GROUND, _LEADER = "#222222", "#9A9A9A"
_WIDTH_IN, _ROW_IN, _TITLE_IN, _LEGEND_IN = 9.2, 3.2, 0.32, 0.5
# Between two names beside a picture, as a share of its height.
_NAME_GAP = 0.075


@dataclass(frozen=True)
class Readings:
    """One image before and after fusion, boxes xyxy in pixels of the picture.

    Attributes:
        pixels: [H, W] uint8.
        height_per_width: Of the radiograph; the picture may be squashed.
        drawn: [N, 4] boxes as readers drew them.
        readers: N reader ids.
        fused: [M, 4] their consensus.
        names: M classes.
        support: M numbers of readers, >= 1.
    """

    pixels: Pixels
    height_per_width: float
    drawn: Boxes
    readers: Sequence[str]
    fused: Boxes
    names: Sequence[str]
    support: Sequence[int]


def readings_figure(examples: Sequence[Readings]) -> Figure:
    """Return boxes before (left) and after (right) fusion, with names beside, for a wide place.

    Args:
        examples: A row each, at least one.

    Source: the paper, figure 1; readers' colours and support are ours.
    """
    looks = reader_looks(examples)
    height = _TITLE_IN + _ROW_IN * len(examples) + _LEGEND_IN
    figure = Figure(figsize=(_WIDTH_IN, height))
    grid = figure.subplots(
        len(examples),
        4,
        squeeze=False,
        # The second and fourth columns leave room for names.
        gridspec_kw={
            "width_ratios": (1, 0.53, 1, 0.53),
            "left": 0.01,
            "right": 0.99,
            "top": 1 - _TITLE_IN / height,
            "bottom": _LEGEND_IN / height,
            "wspace": 0.03,
            "hspace": 0.04,
        },
    )
    for axes in grid[:, (1, 3)].flat:
        axes.axis("off")
    grid = grid[:, (0, 2)]
    for (left, right), one in zip(grid, examples, strict=True):
        draw_drawn(left, one, looks, aspect=one.height_per_width)
        draw_fused(right, one, aspect=one.height_per_width)
        _name_beside(right, one)
    grid[0, 0].set_title("as drawn", fontsize=10)
    grid[0, 1].set_title("fused", fontsize=10)
    explain_readers(grid[-1, 0], looks, columns=4)
    explain_support(grid[-1, 1], columns=4)
    return figure


def reader_looks(examples: Sequence[Readings]) -> dict[str, tuple[str, Stroke]]:
    """Return colour and stroke by reader, the same in every example."""
    readers = sorted({name for one in examples for name in one.readers}, key=lambda r: (len(r), r))
    return {reader: _READERS[place % len(_READERS)] for place, reader in enumerate(readers)}


def draw_drawn(
    axes: Axes,
    one: Readings,
    looks: Mapping[str, tuple[str, Stroke]],
    *,
    aspect: float | Literal["auto"],
) -> None:
    """Draw a picture with the boxes of its readers; `aspect` is as matplotlib takes it."""
    _picture(axes, one, aspect)
    for box, reader in zip(one.drawn.tolist(), one.readers, strict=True):
        colour, stroke = looks[reader]
        _outline(axes, box, colour=colour, stroke=stroke, width=1.5)


def draw_fused(axes: Axes, one: Readings, *, aspect: float | Literal["auto"]) -> None:
    """Draw a picture with its fused boxes, stroked by the number of their readers."""
    _picture(axes, one, aspect)
    for box, support in zip(one.fused.tolist(), one.support, strict=True):
        stroke, width, _ = _STROKES[min(support, 3)]
        _outline(axes, box, colour=FUSED, stroke=stroke, width=width)


def explain_readers(
    axes: Axes, looks: Mapping[str, tuple[str, Stroke]], *, columns: int, below: float = 0.02
) -> None:
    """Explain readers' strokes below a picture, by `below` of its height."""
    strokes = [(colour, stroke, 1.5, name) for name, (colour, stroke) in looks.items()]
    _legend(axes, strokes, columns, below)


def explain_support(axes: Axes, *, columns: int, below: float = 0.02) -> None:
    """Explain the strokes of fused boxes below a picture."""
    _legend(axes, [(FUSED, *stroke) for stroke in _STROKES.values()], columns, below)


def _picture(axes: Axes, one: Readings, aspect: float | Literal["auto"]) -> None:
    axes.imshow(one.pixels, cmap="gray", vmin=0, vmax=255, aspect=aspect)
    axes.axis("off")


def _outline(axes: Axes, box: list[float], *, colour: str, stroke: Stroke, width: float) -> None:
    x0, y0, x1, y1 = box
    # A dark rim keeps a bright line visible on bone and heart.
    for one_colour, one_width in ((GROUND, width + 1), (colour, width)):
        axes.add_patch(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=one_colour,
                linestyle=stroke if one_colour == colour else "-",
                linewidth=one_width,
                alpha=1 if one_colour == colour else 0.5,
            )
        )


def _name_beside(axes: Axes, one: Readings) -> None:
    """Write the classes on both sides of a picture, each with a line to its box; none overlap."""
    height, width = one.pixels.shape
    middles = (one.fused[:, :2] + one.fused[:, 2:]) / 2  # [M, 2]
    on_left = middles[:, 0] < width / 2
    for edge, places, at_x, side in (
        (0, np.flatnonzero(on_left), -0.04, "right"),
        (2, np.flatnonzero(~on_left), 1.04, "left"),
    ):
        order = places[np.argsort(middles[places, 1], kind="stable")]
        heights = _apart((middles[order, 1] / height).tolist(), gap=_NAME_GAP)
        for place, at_y in zip(order.tolist(), heights, strict=True):
            name = axes.annotate(
                f"{one.names[place]} ({one.support[place]})",
                xy=(float(one.fused[place, edge]), float(middles[place, 1])),
                xytext=(at_x, 1 - at_y),
                textcoords="axes fraction",
                ha=side,
                va="center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "color": _LEADER, "linewidth": 0.8, "shrinkB": 0},
            )
            name.set_in_layout(False)


def _apart(wanted: Sequence[float], *, gap: float) -> list[float]:
    """Return rising places in 0..1 near the rising ones wanted, `gap` apart or more if they fit."""
    found = list(wanted)
    for place in range(1, len(found)):
        found[place] = max(found[place], found[place - 1] + gap)
    ceiling = 1.0
    for place in reversed(range(len(found))):
        found[place] = min(found[place], ceiling)
        ceiling = found[place] - gap
    return found


def _legend(
    axes: Axes, strokes: Sequence[tuple[str, Stroke, float, str]], columns: int, below: float
) -> None:
    """Explain strokes (colour, stroke, width, name) below a picture, on a dark ground as in it."""
    lines = [
        Line2D([], [], color=colour, linestyle=stroke, linewidth=width, label=name)
        for colour, stroke, width, name in strokes
    ]
    if not lines:
        return
    axes.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, -below),
        ncols=min(len(lines), columns),
        fontsize=8,
        frameon=True,
        facecolor=GROUND,
        framealpha=1,
        labelcolor="white",
        handlelength=3,
    )
