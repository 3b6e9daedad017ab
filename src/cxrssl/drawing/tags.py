"""Name tags of boxes: where they go, so that none covers another, and how they are drawn.

In whole pixels of the picture. What a tag says, and its colour, is `overlay`'s.
"""

from collections.abc import Sequence
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Rect = tuple[int, int, int, int]

# Between two tags, so that they read as two.
_GAP_PX = 3
# The most a tag may hide of boxes, its own or others, before it moves away and gets a leader line.
_MOST_HIDDEN = 0.3
# A tag goes inside its own box only where the box is that many tags high.
_ROOMY = 5

_Floats = NDArray[np.float64]


def placed_tags(
    boxes: Sequence[tuple[float, float, float, float]],
    sizes: Sequence[tuple[int, int]],
    *,
    width: int,
    height: int,
) -> list[Rect | None]:
    """Place a tag a box, the first boxes first: touching its box if it can, else close by.

    Args:
        boxes: xyxy, pixels of the picture; the most important first, since it chooses first.
        sizes: Width and height of each box's tag, pixels.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Returns:
        For each box its tag as xyxy, half-open, inside the picture and apart from all others;
        None only where no place is left for a tag of that size.

    Raises:
        ValueError: Not as many sizes as boxes.
    """
    limits = np.array([width, height, width, height], np.float64)
    corners = np.clip(np.array(boxes, np.float64).reshape(-1, 4), 0, limits)
    placed: list[Rect | None] = []
    for box, size in zip(corners, sizes, strict=True):
        taken = np.array([tag for tag in placed if tag], np.float64).reshape(-1, 4)
        near = _open(_touching(box, size, limits), taken, limits)
        hidden = _hidden(near, corners)
        if (hidden <= _MOST_HIDDEN).any():
            # The order of the candidates decides between two that hide about as little.
            spot = near[np.argmin(hidden + 0.02 * np.arange(len(near)))]
        else:
            far = _open(_anywhere(corners, box, size, taken, limits), taken, limits)
            if not len(far):
                placed.append(None)
                continue
            spot = far[np.argmin(_cost(far, box, corners, limits))]
        x0, y0, x1, y1 = (int(edge) for edge in spot)
        placed.append((x0, y0, x1, y1))
    return placed


def _touching(box: _Floats, size: tuple[int, int], limits: _Floats) -> _Floats:
    """Candidates along the outline, the most usual first: [K, 4]."""
    (x0, y0, x1, y1), (wide, high) = box, size
    last = limits[0] - wide
    left, right, middle = (min(max(x, 0.0), last) for x in (x0, x1 - wide, (x0 + x1 - wide) / 2))
    corners = [(x, y) for y in (y0 - high, y1) for x in (left, right, middle)]
    if x1 - x0 > wide and y1 - y0 > _ROOMY * high:
        corners += [(x, y) for y in (y0, y1 - high) for x in (left, right)]
    corners += [(x, y) for x in (x1, x0 - wide) for y in (y0, y1 - high)]
    return _rects(corners, size)


def _anywhere(
    boxes: _Floats, box: _Floats, size: tuple[int, int], taken: _Floats, limits: _Floats
) -> _Floats:
    """Candidates all over the picture: [K, 4].

    If a tag fits at all, it also fits pushed up and left until it meets an edge or a tag; those
    corners are all here, so that no tag is given up while there is a place for it.
    """
    (wide, high), (width, height) = size, limits[:2]
    left = [0.0, width - wide, box[0], box[2] - wide, *(taken[:, 2] + _GAP_PX)]
    left += [*(taken[:, 0] - wide - _GAP_PX), boxes[:, 0].min() - wide - high]
    left += [boxes[:, 2].max() + high]
    top = [0.0, height - high, box[1], box[1] - high, box[3], (box[1] + box[3] - high) / 2]
    top += [*(taken[:, 3] + _GAP_PX), *(taken[:, 1] - high - _GAP_PX)]
    return _rects(list(product(sorted(set(left)), sorted(set(top)))), size)


def _rects(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> _Floats:
    top_left = np.rint(np.array(corners, np.float64).reshape(-1, 2))
    return np.concatenate([top_left, top_left + np.array(size)], axis=1)


def _open(tags: _Floats, taken: _Floats, limits: _Floats) -> _Floats:
    """Those inside the picture and apart from the tags that are there."""
    inside = (tags >= 0).all(axis=1) & (tags <= limits).all(axis=1)
    tags = tags[inside]
    before = (tags[:, None, :2] < taken[None, :, 2:] + _GAP_PX).all(axis=2)
    after = (tags[:, None, 2:] > taken[None, :, :2] - _GAP_PX).all(axis=2)
    apart: _Floats = tags[~np.any(before & after, axis=1)]
    return apart


def _hidden(tags: _Floats, boxes: _Floats) -> _Floats:
    """The shares of all boxes that a tag would hide, added up: [K]."""
    low = np.maximum(tags[:, None, :2], boxes[None, :, :2])
    high = np.minimum(tags[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    shares: _Floats = shared / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)
    total: _Floats = np.sum(shares, axis=1)
    return total


def _cost(tags: _Floats, box: _Floats, boxes: _Floats, limits: _Floats) -> _Floats:
    """How bad a place with a leader line is: what it hides, then how long the line is: [K]."""
    apart = np.maximum(tags[:, :2] - box[2:], box[:2] - tags[:, 2:])
    length: _Floats = np.linalg.norm(np.clip(apart, 0, None), axis=1) / limits.max()
    return 3 * _hidden(tags, boxes) + length


def tag_size(text: str, font: Font) -> tuple[int, int]:
    """Width and height of a tag, pixels, with room around its text."""
    high = _line_height(font)
    return ceil(font.getlength(text)) + high // 2, high


def draw_tag(canvas: Image.Image, tag: Rect, text: str, colour: str, font: Font) -> None:
    """Fill an RGB canvas's rectangle and write on it, in black or white, whichever reads better."""
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((tag[0], tag[1], tag[2] - 1, tag[3] - 1), fill=colour)
    place = (tag[0] + (tag[3] - tag[1]) / 4, (tag[1] + tag[3]) / 2)
    draw.text(place, text, fill=_ink_on(colour), font=font, anchor="lm")


def draw_leader(canvas: Image.Image, tag: Rect, box: Rect, colour: str) -> None:
    """Join a tag to its box's outline by a thin line with a dark halo, unless they touch."""
    centre = ((tag[0] + tag[2]) // 2, (tag[1] + tag[3]) // 2)
    x, y = (min(max(centre[i], box[i]), box[i + 2]) for i in (0, 1))
    if (x, y) == centre:
        # The tag lies inside its box: straight to the nearest side.
        ways = [(abs(centre[i % 2] - box[i]), i) for i in range(4)]
        side = min(ways)[1]
        x, y = (box[side], y) if side % 2 == 0 else (x, box[side])
    near = 2 * _GAP_PX
    if tag[0] - near <= x <= tag[2] + near and tag[1] - near <= y <= tag[3] + near:
        return
    _draw_line(canvas, centre, (x, y), "black", 4)
    _draw_line(canvas, centre, (x, y), colour, 2)


def _draw_line(
    canvas: Image.Image, start: tuple[int, int], end: tuple[int, int], colour: str, width: float
) -> None:
    """Draw a line with a dot at its end, smoothed: Pillow's own slanted lines are jagged."""
    fine, margin = 4, ceil(2 * width)
    left, top = (min(start[i], end[i]) - margin for i in (0, 1))
    size = tuple(abs(start[i] - end[i]) + 2 * margin for i in (0, 1))
    mask = Image.new("L", (size[0] * fine, size[1] * fine))
    ends = [(fine * (x - left), fine * (y - top)) for x, y in (start, end)]
    draw = ImageDraw.Draw(mask)
    draw.line(ends, fill=255, width=round(fine * width))
    draw.circle(ends[1], 1.3 * fine * width, fill=255)
    mask = mask.resize((size[0], size[1]), Image.Resampling.BOX)
    canvas.paste(colour, (left, top), mask)


def _line_height(font: Font) -> int:
    top, bottom = font.getbbox("Ag")[1::2]
    return round(1.6 * (bottom - top))


def _ink_on(colour: str) -> str:
    """Whichever of black and white contrasts more with a colour, by WCAG's luminance."""
    shares = [channel / 255 for channel in ImageColor.getrgb(colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
