"""Boxes as readers drew them, and fused, for a narrow page: names stand below the pictures.

Shapes: H, W are a picture's height and width in pixels; M fused boxes.
"""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxrssl.core.boxes import Boxes
from cxrssl.drawing.looks import say_nothing_yet
from cxrssl.drawing.readings import (
    FUSED,
    GROUND,
    TITLE,
    Readings,
    draw_drawn,
    draw_fused,
    explain_readers,
    explain_support,
    reader_looks,
)
from cxrssl.drawing.svg import WIDTH_IN, page_style, svg_text

_GAP_IN, _TITLE_IN, _LINE_IN, _LEGEND_ROW_IN = 0.08, 0.25, 0.165, 0.19
_PICTURE_IN = (WIDTH_IN - _GAP_IN) / 2
# A number's ground in a picture, as shares of its width and height.
_TAG = (0.075, 0.07)
# Characters of a line of names that fit below both pictures, and below one.
_LINE_WIDTH, _HALF_LINE_WIDTH = 68, 34
_LEGEND_COLUMNS = 2


def fusion_examples(examples: Sequence[Readings]) -> str:
    """Draw boxes before (left) and after (right) fusion, as SVG for a page.

    Fused boxes are numbered from top to bottom, and named below with the number of their readers.

    Args:
        examples: One below another; without any, the figure says so.

    Source: the paper, figure 1; readers' colours, numbers and support are ours.
    """
    with page_style():
        if not examples:
            figure = Figure(figsize=(WIDTH_IN, 1.0))
            axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
            axes.axis("off")
            say_nothing_yet(axes)
            return svg_text(figure, TITLE)
        looks = reader_looks(examples)
        legend_rows = max(2, -(-len(looks) // _LEGEND_COLUMNS))
        heights = [_height(one) for one in examples]
        total = _TITLE_IN + sum(heights) + 0.15 + _LEGEND_ROW_IN * legend_rows
        figure = Figure(figsize=(WIDTH_IN, total))
        top = total - _TITLE_IN
        for one, height in zip(examples, heights, strict=True):
            left, right = _pair(figure, one, top / total, total)
            draw_drawn(left, one, looks, aspect="auto")
            draw_fused(right, one, aspect="auto")
            _number(right, one)
            _name_below(figure, one, (top - _PICTURE_IN * one.height_per_width) / total, total)
            if one is examples[0]:
                left.set_title("as drawn")
                right.set_title("fused")
            top -= height
        below = (heights[-1] / _PICTURE_IN / examples[-1].height_per_width) - 1
        explain_readers(left, looks, columns=_LEGEND_COLUMNS, below=below)
        explain_support(right, columns=_LEGEND_COLUMNS, below=below)
        return svg_text(figure, TITLE)


def _pair(figure: Figure, one: Readings, top: float, total_in: float) -> tuple[Axes, Axes]:
    """Return axes of both pictures, whose upper edge is at `top` of the figure."""
    height, width = _PICTURE_IN * one.height_per_width / total_in, _PICTURE_IN / WIDTH_IN
    left, right = (
        figure.add_axes((corner, top - height, width, height)) for corner in (0.0, 1 - width)
    )
    return left, right


def _height(one: Readings) -> float:
    """Return the height in inches of a pair of pictures, its names and the gap below."""
    lines, columns = _lines(one)
    return _PICTURE_IN * one.height_per_width + _LINE_IN * -(-len(lines) // columns) + 0.2


def _top_down(one: Readings) -> list[int]:
    """Return the fused boxes as they are numbered."""
    return [int(place) for place in np.lexsort((one.fused[:, 0], one.fused[:, 1]))]


def _lines(one: Readings) -> tuple[list[str], int]:
    """Return a line for each fused box, and in how many columns they fit."""
    lines = []
    for number, place in enumerate(_top_down(one), start=1):
        support = one.support[place]
        readers = "1 reader" if support == 1 else f"{support} readers"
        line = f"{number}  {one.names[place]}, {readers}"
        lines.append(textwrap.shorten(line, _LINE_WIDTH, placeholder=" …"))
    fits = all(len(line) <= _HALF_LINE_WIDTH for line in lines)
    return lines, 2 if fits else 1


def _name_below(figure: Figure, one: Readings, top: float, total_in: float) -> None:
    lines, columns = _lines(one)
    rows = -(-len(lines) // columns)
    for place, line in enumerate(lines):
        column, row = divmod(place, max(1, rows))
        figure.text(
            0.005 + column * (0.5 + _GAP_IN / WIDTH_IN / 2),
            top - (0.05 + _LINE_IN * row) / total_in,
            line,
            va="top",
            fontsize=9,
        )


def _number(axes: Axes, one: Readings) -> None:
    """Write numbers at the corners of fused boxes, where no other number is."""
    height, width = one.pixels.shape
    tag = np.array([_TAG[0] * width, _TAG[1] * height / one.height_per_width])
    taken: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    limit = np.array([width, height]) - tag
    for number, place in enumerate(_top_down(one), start=1):
        places = [np.clip(corner, 0, limit) for corner in _corners(one.fused[place], tag)]
        free = (at for at in places if all((abs(at - own) >= tag).any() for own in taken))
        at = next(free, places[0])
        taken.append(at)
        middle = at + tag / 2
        axes.text(
            float(middle[0]),
            float(middle[1]),
            str(number),
            color=FUSED,
            fontsize=9,
            ha="center",
            va="center",
            bbox={"facecolor": GROUND, "alpha": 0.85, "edgecolor": "none", "pad": 1.2},
        )


def _corners(
    box: Boxes, tag: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Yield where a tag may lie, by its upper left: in the corners of a box, then along its edges.

    Beyond these it goes down the picture beside the box.
    """
    x0, y0, x1, y1 = box.tolist()
    wide, high = tag.tolist()
    for x, y in ((x0, y0), (x1 - wide, y0), (x0, y1 - high), (x1 - wide, y1 - high)):
        yield np.array([x, y])
    for step in range(1, 12):
        for x in (x0, x1 - wide, x0 - wide, x1):
            yield np.array([x, y0 + step * high])
