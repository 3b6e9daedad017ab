"""Figures of an annotation table as PNG and SVG: class balance, boxes before and after fusion.

Shapes: H, W are a picture's height and width in pixels; N boxes as drawn, M fused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cxrssl.core.boxes import Boxes
from cxrssl.core.files import replacing
from cxrssl.core.images import Pixels

Stroke = Literal["-", "--", ":"]

# Okabe and Ito's colours keep apart for every kind of colour vision.
_BEFORE, _AFTER = "#0072B2", "#E69F00"
_HUES = ("#E69F00", "#56B4E9", "#CC79A7")
# After three readers the hues come again with another stroke.
_ALL_STROKES: tuple[Stroke, ...] = ("-", "--", ":")
_READERS = [(hue, stroke) for stroke in _ALL_STROKES for hue in _HUES]
_FUSED = "#F0E442"
# How a fused box is drawn by the number of its readers, so that colour is not needed to tell.
_STROKES: dict[int, tuple[Stroke, float, str]] = {
    1: (":", 1.4, "1 reader"),
    2: ("--", 1.6, "2 readers"),
    3: ("-", 2.2, "3 or more"),
}
_GROUND, _LEADER = "#222222", "#9A9A9A"
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


def write_class_balance(
    stem: Path, names: Sequence[str], *, before: Sequence[float], after: Sequence[float]
) -> list[Path]:
    """Write bars of images by class, before and after oversampling, and return the files.

    Args:
        stem: Path of the files without their endings.
        names: Classes.
        before: Training images that hold each.
        after: Visits to such images in an epoch.

    Source: the paper, figure 3.
    """
    order = np.argsort(np.asarray(after, float), kind="stable")
    rows = np.arange(len(order))
    figure = Figure(figsize=(7, 0.8 + 0.36 * len(order)), layout="constrained")
    axes = figure.subplots()
    for values, shift, colour, label in (
        (before, 0.2, _BEFORE, "training images"),
        (after, -0.2, _AFTER, "visits in an oversampled epoch"),
    ):
        lengths = np.asarray(values, float)[order]
        bars = axes.barh(rows + shift, lengths, height=0.38, color=colour, label=label)
        axes.bar_label(bars, [_count(value) for value in lengths], padding=2, fontsize=7)
    axes.set_yticks(rows, [names[place] for place in order])
    axes.set(xlabel="images that hold the class", ylim=(-0.6, len(order) - 0.4))
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return _written(figure, stem, "class balance before and after oversampling")


def write_readings(stem: Path, examples: Sequence[Readings]) -> list[Path]:
    """Write boxes before (left) and after (right) fusion, and return the files.

    Args:
        stem: Path of the files without their endings.
        examples: A row each, at least one.

    Source: the paper, figure 1; readers' colours and support are ours.
    """
    readers = sorted({name for one in examples for name in one.readers}, key=lambda r: (len(r), r))
    look = {reader: _READERS[place % len(_READERS)] for place, reader in enumerate(readers)}
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
        for axes in (left, right):
            axes.imshow(one.pixels, cmap="gray", vmin=0, vmax=255, aspect=one.height_per_width)
            axes.axis("off")
        for box, reader in zip(one.drawn.tolist(), one.readers, strict=True):
            colour, stroke = look[reader]
            _outline(left, box, colour=colour, stroke=stroke, width=1.5)
        for box, support in zip(one.fused.tolist(), one.support, strict=True):
            stroke, width, _ = _STROKES[min(support, 3)]
            _outline(right, box, colour=_FUSED, stroke=stroke, width=width)
        _name_beside(right, one)
    grid[0, 0].set_title("as drawn", fontsize=10)
    grid[0, 1].set_title("fused", fontsize=10)
    _legend(grid[-1, 0], [(colour, stroke, 1.5, name) for name, (colour, stroke) in look.items()])
    _legend(grid[-1, 1], [(_FUSED, *stroke) for stroke in _STROKES.values()])
    return _written(figure, stem, "boxes as readers drew them, and fused")


def _count(value: float) -> str:
    """Return a number of images; a small one may be an expectation, such as 1.5."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def _outline(axes: Axes, box: list[float], *, colour: str, stroke: Stroke, width: float) -> None:
    x0, y0, x1, y1 = box
    # A dark rim keeps a bright line visible on bone and heart.
    for one_colour, one_width in ((_GROUND, width + 1), (colour, width)):
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


def _legend(axes: Axes, strokes: Sequence[tuple[str, Stroke, float, str]]) -> None:
    """Explain strokes (colour, stroke, width, name) below a picture, on a dark ground as in it."""
    lines = [
        Line2D([], [], color=colour, linestyle=stroke, linewidth=width, label=name)
        for colour, stroke, width, name in strokes
    ]
    axes.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=min(len(lines), 4),
        fontsize=8,
        facecolor=_GROUND,
        framealpha=1,
        labelcolor="white",
        handlelength=3,
    )


def _written(figure: Figure, stem: Path, title: str) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{form}") for form in ("png", "svg")]
    # Text stays text, and nothing in the files depends on the day they were drawn.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cxrssl", "font.size": 9}):
        for path, metadata in zip(
            paths, ({"Software": None, "Title": title}, {"Date": None, "Title": title}), strict=True
        ):
            with replacing(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)
    return paths
