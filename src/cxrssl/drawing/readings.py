"""Boxes as readers drew them, and fused: the paper's figure 1.

Names stand below the images, so that long ones fit and a narrow page has room.
Shapes: H, W are an image's height and width in pixels; N boxes as drawn, M fused.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cxrssl.core.boxes import Boxes
from cxrssl.core.images import Pixels
from cxrssl.drawing.looks import note_no_value
from cxrssl.drawing.svg import WIDTH_IN, page_style, svg_text
from cxrssl.drawing.tags import placed_tags

Stroke = Literal["-", "--", ":"]

TITLE = "boxes as readers drew them, and fused"
# Okabe and Ito's colours keep apart for every kind of colour vision.
_HUES = ("#E69F00", "#56B4E9", "#CC79A7")
# After three readers the hues come again with another stroke.
_READER_STROKES: tuple[Stroke, ...] = ("-", "--", ":")
_READERS = [(hue, stroke) for stroke in _READER_STROKES for hue in _HUES]
_FUSED = "#F0E442"
# Stroke of a fused box by its number of readers, so that colour is not needed.
_SUPPORT_STROKES: dict[int, tuple[Stroke, float, str]] = {
    1: (":", 1.4, "1 reader"),
    2: ("--", 1.6, "2 readers"),
    3: ("-", 2.2, "3 or more"),
}
_GROUND = "#222222"
_GAP_IN, _TITLE_IN, _LINE_IN, _LEGEND_ROW_IN = 0.08, 0.25, 0.165, 0.19
_IMAGE_IN = (WIDTH_IN - _GAP_IN) / 2
# Size of a number's background, as fractions of the image's width and height.
_TAG = (0.075, 0.07)
# Characters of a line of names that fit below both images, and below one.
_LINE_WIDTH, _HALF_LINE_WIDTH = 68, 34
_LEGEND_COLUMNS = 2


@dataclass(frozen=True)
class Readings:
    """One image before and after fusion, boxes xyxy in pixels of the image.

    Attributes:
        pixels: [H, W] uint8.
        height_per_width: Aspect ratio of the radiograph; the image may be squashed.
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


def fusion_examples(examples: Sequence[Readings]) -> str:
    """Draw the figure as SVG for a page; see `readings_figure`."""
    with page_style():
        return svg_text(readings_figure(examples), TITLE)


def readings_figure(examples: Sequence[Readings]) -> Figure:
    """Return boxes before (left) and after (right) fusion.

    Fused boxes are numbered from top to bottom, and named below with the number of their readers.

    Args:
        examples: Examples, one below another; without any, the figure says so.

    Source: the paper, figure 1; readers' colours, numbers and support are ours.
    """
    if not examples:
        figure = Figure(figsize=(WIDTH_IN, 1.0))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.axis("off")
        note_no_value(axes)
        return figure
    readers = sorted({name for e in examples for name in e.readers}, key=lambda r: (len(r), r))
    looks = {name: _READERS[index % len(_READERS)] for index, name in enumerate(readers)}
    legend_rows = max(2, -(-len(looks) // _LEGEND_COLUMNS))
    heights = [_height_in(example) for example in examples]
    total = _TITLE_IN + sum(heights) + 0.15 + _LEGEND_ROW_IN * legend_rows
    figure = Figure(figsize=(WIDTH_IN, total))
    top = total - _TITLE_IN
    for example, height in zip(examples, heights, strict=True):
        left, right = _image_pair(figure, example, top / total, total)
        for box, reader in zip(example.drawn.tolist(), example.readers, strict=True):
            colour, stroke = looks[reader]
            _outline(left, box, colour=colour, stroke=stroke, width=1.5)
        for box, support in zip(example.fused.tolist(), example.support, strict=True):
            stroke, width, _ = _SUPPORT_STROKES[min(support, 3)]
            _outline(right, box, colour=_FUSED, stroke=stroke, width=width)
        _write_numbers(right, example)
        _write_names(figure, example, (top - _IMAGE_IN * example.height_per_width) / total, total)
        if example is examples[0]:
            left.set_title("as drawn")
            right.set_title("fused")
        top -= height
    legend_offset = (heights[-1] / _IMAGE_IN / examples[-1].height_per_width) - 1
    _legend(
        left, [(hue, stroke, 1.5, name) for name, (hue, stroke) in looks.items()], legend_offset
    )
    _legend(right, [(_FUSED, *stroke) for stroke in _SUPPORT_STROKES.values()], legend_offset)
    return figure


def _image_pair(
    figure: Figure, example: Readings, top: float, total_in: float
) -> tuple[Axes, Axes]:
    """Return two axes with the image, whose upper edge is at `top` of the figure."""
    height, width = _IMAGE_IN * example.height_per_width / total_in, _IMAGE_IN / WIDTH_IN
    left, right = (figure.add_axes((x, top - height, width, height)) for x in (0.0, 1 - width))
    for axes in (left, right):
        axes.imshow(example.pixels, cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.axis("off")
    return left, right


def _height_in(example: Readings) -> float:
    """Return the height in inches of a pair of images, its names and the gap below."""
    lines, columns = _lines(example)
    return _IMAGE_IN * example.height_per_width + _LINE_IN * -(-len(lines) // columns) + 0.2


def _numbered_rows(example: Readings) -> list[int]:
    """Return the rows of fused boxes in the order of their numbers."""
    return [int(row) for row in np.lexsort((example.fused[:, 0], example.fused[:, 1]))]


def _lines(example: Readings) -> tuple[list[str], int]:
    """Return a line for each fused box, and in how many columns they fit."""
    lines = []
    for number, row in enumerate(_numbered_rows(example), start=1):
        support = example.support[row]
        readers = "1 reader" if support == 1 else f"{support} readers"
        line = f"{number}  {example.names[row]}, {readers}"
        lines.append(textwrap.shorten(line, _LINE_WIDTH, placeholder=" …"))
    fits = all(len(line) <= _HALF_LINE_WIDTH for line in lines)
    return lines, 2 if fits else 1


def _write_names(figure: Figure, example: Readings, top: float, total_in: float) -> None:
    lines, columns = _lines(example)
    rows = -(-len(lines) // columns)
    for index, line in enumerate(lines):
        column, row = divmod(index, max(1, rows))
        figure.text(
            0.005 + column * (0.5 + _GAP_IN / WIDTH_IN / 2),
            top - (0.05 + _LINE_IN * row) / total_in,
            line,
            va="top",
            fontsize=9,
        )


def _write_numbers(axes: Axes, example: Readings) -> None:
    """Write numbers beside fused boxes without overlap."""
    height, width = example.pixels.shape
    size = ceil(_TAG[0] * width), ceil(_TAG[1] * height / example.height_per_width)
    order = _numbered_rows(example)
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in example.fused[order].tolist()]
    tags = placed_tags(boxes, [size] * len(order), width=width, height=height)
    for number, tag in enumerate(tags, start=1):
        if tag is None:
            continue  # the image is full of numbers
        axes.text(
            (tag[0] + tag[2]) / 2,
            (tag[1] + tag[3]) / 2,
            str(number),
            color=_FUSED,
            fontsize=9,
            ha="center",
            va="center",
            bbox={"facecolor": _GROUND, "alpha": 0.85, "edgecolor": "none", "pad": 1.2},
        )


def _outline(axes: Axes, box: list[float], *, colour: str, stroke: Stroke, width: float) -> None:
    x0, y0, x1, y1 = box
    # A dark rim keeps a bright line visible on bone and heart.
    rim: tuple[str, Stroke, float, float] = (_GROUND, "-", width + 1, 0.5)
    for edge, style, points, alpha in (rim, (colour, stroke, width, 1)):
        outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge, alpha=alpha)
        outline.set(linestyle=style, linewidth=points)
        axes.add_patch(outline)


def _legend(axes: Axes, strokes: Sequence[tuple[str, Stroke, float, str]], below: float) -> None:
    """Draw a legend of (colour, stroke, width, name) at `below` of the image's height below it."""
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
        ncols=min(len(lines), _LEGEND_COLUMNS),
        fontsize=8,
        frameon=True,
        facecolor=_GROUND,
        framealpha=1,
        labelcolor="white",
        handlelength=3,
    )
