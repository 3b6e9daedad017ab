"""Name tags of boxes: placed so that none covers another, and drawn.

In integer pixels of the image. The text and the colour of a tag are `overlay`'s.
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
_LEAST_TAGS_HIGH = 5

_Floats = NDArray[np.float64]


def placed_tags(
    boxes: Sequence[tuple[float, float, float, float]],
    sizes: Sequence[tuple[int, int]],
    *,
    width: int,
    height: int,
) -> list[Rect | None]:
    """Place a tag for each box, in order: touching its box if possible, else close by.

    Args:
        boxes: xyxy, pixels of the image; the most important first, since it chooses first.
        sizes: Width and height of each box's tag, pixels.
        width: Width of the image, pixels.
        height: Height of the image, pixels.

    Returns:
        For each box its tag as xyxy, half-open, inside the image and disjoint from all others;
        None only where there is no room for a tag of that size.

    Raises:
        ValueError: Not as many sizes as boxes.
    """
    limits = np.array([width, height, width, height], np.float64)
    clipped = np.clip(np.array(boxes, np.float64).reshape(-1, 4), 0, limits)
    placed: list[Rect | None] = []
    for box, size in zip(clipped, sizes, strict=True):
        taken = np.array([tag for tag in placed if tag], np.float64).reshape(-1, 4)
        beside = _free_positions(_positions_beside(box, size, limits), taken, limits)
        hidden_fraction = _hidden_fractions(beside, clipped)
        if (hidden_fraction <= _MOST_HIDDEN).any():
            # The order of the candidates decides between two that hide about as little.
            tag = beside[np.argmin(hidden_fraction + 0.02 * np.arange(len(beside)))]
        else:
            anywhere = _positions_anywhere(clipped, box, size, taken, limits)
            distant = _free_positions(anywhere, taken, limits)
            if not len(distant):
                placed.append(None)
                continue
            tag = distant[np.argmin(_distance_cost(distant, box, clipped, limits))]
        x0, y0, x1, y1 = (int(edge) for edge in tag)
        placed.append((x0, y0, x1, y1))
    return placed


def _positions_beside(box: _Floats, size: tuple[int, int], limits: _Floats) -> _Floats:
    """Return candidates along the outline, the most usual first: [K, 4]."""
    (x0, y0, x1, y1), (width, height) = box, size
    last_x = limits[0] - width
    left, right, middle = (
        min(max(x, 0.0), last_x) for x in (x0, x1 - width, (x0 + x1 - width) / 2)
    )
    corners = [(x, y) for y in (y0 - height, y1) for x in (left, right, middle)]
    if x1 - x0 > width and y1 - y0 > _LEAST_TAGS_HIGH * height:
        corners += [(x, y) for y in (y0, y1 - height) for x in (left, right)]
    corners += [(x, y) for x in (x1, x0 - width) for y in (y0, y1 - height)]
    return _rects(corners, size)


def _positions_anywhere(
    boxes: _Floats, box: _Floats, size: tuple[int, int], taken: _Floats, limits: _Floats
) -> _Floats:
    """Return candidates all over the image: [K, 4].

    If a tag fits at all, it also fits pushed up and left until it meets an edge or a tag; those
    corners are all here, so that no tag is given up while there is a place for it.
    """
    (tag_width, tag_height), (width, height) = size, limits[:2]
    x = [0.0, width - tag_width, box[0], box[2] - tag_width, *(taken[:, 2] + _GAP_PX)]
    x += [*(taken[:, 0] - tag_width - _GAP_PX), boxes[:, 0].min() - tag_width - tag_height]
    x += [boxes[:, 2].max() + tag_height]
    y = [0.0, height - tag_height, box[1], box[1] - tag_height, box[3]]
    y += [(box[1] + box[3] - tag_height) / 2]
    y += [*(taken[:, 3] + _GAP_PX), *(taken[:, 1] - tag_height - _GAP_PX)]
    return _rects(list(product(sorted(set(x)), sorted(set(y)))), size)


def _rects(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> _Floats:
    top_left = np.rint(np.array(corners, np.float64).reshape(-1, 2))
    return np.concatenate([top_left, top_left + np.array(size)], axis=1)


def _free_positions(tags: _Floats, taken: _Floats, limits: _Floats) -> _Floats:
    """Return the tags inside the image and disjoint from those placed."""
    is_inside = (tags >= 0).all(axis=1) & (tags <= limits).all(axis=1)
    tags = tags[is_inside]
    ends_before = (tags[:, None, :2] < taken[None, :, 2:] + _GAP_PX).all(axis=2)
    begins_after = (tags[:, None, 2:] > taken[None, :, :2] - _GAP_PX).all(axis=2)
    free: _Floats = tags[~np.any(ends_before & begins_after, axis=1)]
    return free


def _hidden_fractions(tags: _Floats, boxes: _Floats) -> _Floats:
    """Return the sum over all boxes of the fraction that a tag would hide: [K]."""
    low = np.maximum(tags[:, None, :2], boxes[None, :, :2])
    high = np.minimum(tags[:, None, 2:], boxes[None, :, 2:])
    covered = np.clip(high - low, 0, None).prod(axis=2)
    fractions: _Floats = covered / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)
    total: _Floats = np.sum(fractions, axis=1)
    return total


def _distance_cost(tags: _Floats, box: _Floats, boxes: _Floats, limits: _Floats) -> _Floats:
    """Return the cost of a tag with a leader line: what it hides, then the line's length: [K]."""
    gap = np.maximum(tags[:, :2] - box[2:], box[:2] - tags[:, 2:])
    length: _Floats = np.linalg.norm(np.clip(gap, 0, None), axis=1) / limits.max()
    return 3 * _hidden_fractions(tags, boxes) + length


def tag_size(text: str, font: Font) -> tuple[int, int]:
    """Return width and height of a tag in pixels, with room around its text."""
    top, bottom = font.getbbox("Ag")[1::2]
    height = round(1.6 * (bottom - top))
    return ceil(font.getlength(text)) + height // 2, height


def draw_tag(canvas: Image.Image, tag: Rect, text: str, colour: str, font: Font) -> None:
    """Draw a filled rectangle with text, in black or white by contrast, on an RGB canvas."""
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((tag[0], tag[1], tag[2] - 1, tag[3] - 1), fill=colour)
    text_position = (tag[0] + (tag[3] - tag[1]) / 4, (tag[1] + tag[3]) / 2)
    draw.text(text_position, text, fill=_ink_on(colour), font=font, anchor="lm")


def draw_leader(canvas: Image.Image, tag: Rect, box: Rect, colour: str) -> None:
    """Draw a thin line with a dark halo from a tag to its box's outline, unless they touch."""
    centre = ((tag[0] + tag[2]) // 2, (tag[1] + tag[3]) // 2)
    x, y = (min(max(centre[i], box[i]), box[i + 2]) for i in (0, 1))
    if (x, y) == centre:
        # The tag lies inside its box: straight to the nearest side.
        sides = [(abs(centre[i % 2] - box[i]), i) for i in range(4)]
        side = min(sides)[1]
        x, y = (box[side], y) if side % 2 == 0 else (x, box[side])
    margin = 2 * _GAP_PX
    if tag[0] - margin <= x <= tag[2] + margin and tag[1] - margin <= y <= tag[3] + margin:
        return
    _draw_line(canvas, centre, (x, y), "black", 4)
    _draw_line(canvas, centre, (x, y), colour, 2)


def _draw_line(
    canvas: Image.Image, start: tuple[int, int], end: tuple[int, int], colour: str, width: float
) -> None:
    """Draw a line with a dot at its end, smoothed: Pillow's own slanted lines are jagged."""
    oversampling, margin = 4, ceil(2 * width)
    left, top = (min(start[i], end[i]) - margin for i in (0, 1))
    size = tuple(abs(start[i] - end[i]) + 2 * margin for i in (0, 1))
    mask = Image.new("L", (size[0] * oversampling, size[1] * oversampling))
    ends = [(oversampling * (x - left), oversampling * (y - top)) for x, y in (start, end)]
    draw = ImageDraw.Draw(mask)
    draw.line(ends, fill=255, width=round(oversampling * width))
    draw.circle(ends[1], 1.3 * oversampling * width, fill=255)
    mask = mask.resize((size[0], size[1]), Image.Resampling.BOX)
    canvas.paste(colour, (left, top), mask)


def _ink_on(colour: str) -> str:
    """Return black or white, which contrasts more with a colour by WCAG's luminance."""
    channels = [channel / 255 for channel in ImageColor.getrgb(colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
