"""A radiograph with its detections drawn on it, as a PNG to look at.

Boxes, names, scores, and a legend beside the image. Not for measuring, since the image is
resampled.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrssl.core.files import replacing
from cxrssl.core.images import Pixels
from cxrssl.drawing.tags import Font, Rect, draw_leader, draw_tag, placed_tags, tag_size

# Colours that keep apart for normal, protan and deutan sight, on black and on white: of many sets
# of eleven, the one whose closest pair is farthest in OKLab at a bounded chroma and lightness. The
# most different come first, so that detectors of few classes have the easiest.
_PALETTE = (
    *("#5A87F0", "#FFE13C", "#E1690F", "#96F0FF", "#A5C387", "#FF87D2"),
    *("#2DA569", "#1EC3FF", "#78FFA5", "#FFA52D", "#B478B4"),
)
_INK, _QUIET, _PANEL, _HALO = "#ECEFF1", "#9AA4AB", "#15191C", (0, 0, 0, 160)
_LONG_SIDE_PX = (1200, 1600)
_LEAST_AREA_PX = (640, 480)  # the least, so that a narrow image leaves room for its tags
_DASH_PX = (14, 9)
_MAX_TAGS = 60
# In ems, the size of the letters.
_PANEL_EM, _MARGIN_EM, _SAMPLE_EM, _ROW_EM = 17, 1.25, 2.4, 1.55


class ScoredBox(Protocol):
    """One box to draw: xyxy in pixels of the image it is drawn on, its class, its score."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max."""

    @property
    def label(self) -> str:
        """Name of its class."""

    @property
    def score(self) -> float:
        """In [0, 1]."""


@dataclass(frozen=True)
class _Style:
    colour: str
    dashed: bool


@dataclass(frozen=True)
class _Row:
    """A line of the legend; a class's has a sample of its outline, and a count."""

    text: str
    colour: str = _INK
    indent: float = 0
    style: _Style | None = None
    count: str = ""


def write_overlay(
    path: Path, pixels: Pixels, findings: Sequence[ScoredBox], *, classes: Sequence[str], title: str
) -> None:
    """Write what `overlay_image` draws as a PNG without metadata; all of it or nothing.

    Args:
        path: The PNG; its folder is created, an existing file is replaced.
        pixels: As for `overlay_image`, like all that follows.
        findings: As for `overlay_image`.
        classes: As for `overlay_image`.
        title: As for `overlay_image`.

    Raises:
        ValueError: A finding's label is not in `classes`.
        OSError: The file cannot be written.
    """
    canvas = overlay_image(pixels, findings, classes=classes, title=title)
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")


def overlay_image(
    pixels: Pixels, findings: Sequence[ScoredBox], *, classes: Sequence[str], title: str
) -> Image.Image:
    """Return the image with its findings drawn on it, and a legend to its right.

    The image is resampled so that its long side is 1200 to 1600 px.

    Args:
        pixels: [H, W] uint8, grey, 0 black.
        findings: In any order; boxes in pixels of `pixels`. What reaches out of it is cut off. The
            60 strongest have a name tag, or fewer where the image has no room for them; the
            legend then says so.
        classes: All classes of the detector. The position decides the colour (one of 11) and the
            outline (solid, then dashed), so that a class looks the same in every image; beyond
            22 classes looks repeat.
        title: Heads the legend, usually the name of the file.

    Raises:
        ValueError: A finding's label is not in `classes`.
    """
    ranked = sorted(findings, key=lambda finding: -finding.score)
    styles = {label: _style(classes.index(label)) for label in {f.label for f in ranked}}
    image = _resampled(pixels)
    em = round(max(image.size) / 66)
    font = ImageFont.load_default(size=em)
    rows = _legend(ranked, styles, classes, title, font, em)
    # Three more lines: whether there is a note is known once the tags have found their places.
    legend_height = round((len(rows) + 3) * _ROW_EM * em + 2 * _MARGIN_EM * em)
    image_area = (
        max(image.width, _LEAST_AREA_PX[0]),
        max(image.height, _LEAST_AREA_PX[1], legend_height),
    )
    canvas = Image.new("RGB", (image_area[0] + _PANEL_EM * em, image_area[1]), _PANEL)
    canvas.paste("black", (0, 0, *image_area))
    offset = ((image_area[0] - image.width) // 2, (image_area[1] - image.height) // 2)
    canvas.paste(image, offset)
    boxes = [_box_on_canvas(finding.box, pixels.shape, image.size, offset) for finding in ranked]
    num_tagged = _draw_findings(canvas, ranked, boxes, styles, font, image_area)
    if num_tagged < len(ranked):
        note = f"{num_tagged} of {len(ranked)} boxes are named, the strongest first"
        rows += [
            _Row(""),
            *(_Row(line, _QUIET) for line in _wrapped(note, font, _text_width(em), 2)),
        ]
    _draw_legend(canvas, rows, font, em, image_area[0])
    return canvas


def _style(position: int) -> _Style:
    turn, hue = divmod(position, len(_PALETTE))
    return _Style(_PALETTE[hue], dashed=turn % 2 == 1)


def _resampled(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(image.size)
    factor = min(max(longest, _LONG_SIDE_PX[0]), _LONG_SIDE_PX[1]) / longest
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _box_on_canvas(
    box: tuple[float, float, float, float],
    shape: tuple[int, ...],
    size: tuple[int, int],
    offset: tuple[int, int],
) -> Rect:
    """Return a box in integer pixels of the canvas, cut at the image's edge and never empty."""
    edges = []
    for edge, axis in zip(box, (0, 1, 0, 1), strict=True):
        scaled = round(edge * size[axis] / shape[1 - axis])
        edges.append(offset[axis] + min(max(scaled, 0), size[axis] - 1))
    return (edges[0], edges[1], max(edges[0], edges[2]), max(edges[1], edges[3]))


def _draw_findings(
    canvas: Image.Image,
    ranked: Sequence[ScoredBox],
    boxes: Sequence[Rect],
    styles: dict[str, _Style],
    font: Font,
    image_area: tuple[int, int],
) -> int:
    """Draw outlines, leader lines and tags, the strongest on top; return how many have tags."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    for finding, box in reversed(list(zip(ranked, boxes, strict=True))):
        _draw_outline(draw, box, styles[finding.label])
    texts = [_tag_text(finding, font, image_area[0]) for finding in ranked[:_MAX_TAGS]]
    sizes = [tag_size(text, font) for text in texts]
    tags = placed_tags(boxes[:_MAX_TAGS], sizes, width=image_area[0], height=image_area[1])
    colours = [styles[finding.label].colour for finding in ranked]
    named = [
        (tag, box, text, colour)
        for tag, box, text, colour in zip(tags, boxes, texts, colours, strict=False)
        if tag
    ]
    for tag, box, _, colour in reversed(named):
        draw_leader(canvas, tag, box, colour)
    for tag, _, text, colour in named:
        draw_tag(canvas, tag, text, colour, font)
    return len(named)


def _draw_outline(draw: ImageDraw.ImageDraw, box: Rect, style: _Style) -> None:
    """Draw a line 3 px wide in a thin dark halo, dark between its dashes too."""
    x0, y0, x1, y1 = box
    for offset in (-2, 2):
        if x1 - x0 > 2 * offset and y1 - y0 > 2 * offset:
            draw.rectangle((x0 + offset, y0 + offset, x1 - offset, y1 - offset), outline=_HALO)
    colour = _HALO if style.dashed else style.colour
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=colour, width=3)
    if not style.dashed:
        return
    for x in range(x0, x1 + 1, sum(_DASH_PX)):
        for y in (y0, y1):
            draw.rectangle((x - 1, y - 1, min(x + _DASH_PX[0], x1 + 1), y + 1), fill=style.colour)
    for y in range(y0, y1 + 1, sum(_DASH_PX)):
        for x in (x0, x1):
            draw.rectangle((x - 1, y - 1, x + 1, min(y + _DASH_PX[0], y1 + 1)), fill=style.colour)


def _tag_text(finding: ScoredBox, font: Font, width: int) -> str:
    score = f" {finding.score:.2f}"
    label_width = width - tag_size(score, font)[0]
    return _wrapped(finding.label, font, label_width, 1)[0] + score


def _legend(
    ranked: Sequence[ScoredBox],
    styles: dict[str, _Style],
    classes: Sequence[str],
    title: str,
    font: Font,
    em: int,
) -> list[_Row]:
    """Return rows: the title, the number of findings, the classes in the detector's order."""
    rows = [_Row(line) for line in _wrapped(title, font, _text_width(em), 4)]
    summary = f"{len(ranked)} finding{'s' * (len(ranked) != 1)}"
    summary = summary if ranked else "no findings above the threshold"
    rows += [_Row(line, _QUIET) for line in _wrapped(summary, font, _text_width(em), 2)] + [
        _Row("")
    ]
    counts = Counter(finding.label for finding in ranked)
    for label in sorted(counts, key=classes.index):
        width = _text_width(em) - (_SAMPLE_EM + 2) * em
        first, *more_lines = _wrapped(label, font, width, 2)
        rows.append(_Row(first, _INK, _SAMPLE_EM, styles[label], str(counts[label])))
        rows += [_Row(line, _INK, _SAMPLE_EM) for line in more_lines]
    return rows


def _text_width(em: int) -> float:
    """Return the width of the legend's text in pixels."""
    return (_PANEL_EM - 2 * _MARGIN_EM) * em


def _draw_legend(
    canvas: Image.Image, rows: Sequence[_Row], font: Font, em: int, left_px: int
) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    left, right = left_px + _MARGIN_EM * em, canvas.width - _MARGIN_EM * em
    for position, row in enumerate(rows):
        y = (_MARGIN_EM + (position + 0.5) * _ROW_EM) * em
        draw.text((left + row.indent * em, y), row.text, fill=row.colour, font=font, anchor="lm")
        if row.style:
            draw.text((right, y), row.count, fill=_QUIET, font=font, anchor="rm")
            x, half = round(left), round(0.4 * em)
            sample = (x, round(y) - half, x + round(1.6 * em), round(y) + half)
            _draw_outline(draw, sample, row.style)


def _wrapped(text: str, font: Font, width: float, max_lines: int) -> list[str]:
    """Break text into lines, at a space or after punctuation; text that is cut ends in `…`."""
    remaining = "".join(c if c.isprintable() else " " for c in text).strip()
    lines: list[str] = []
    while remaining or not lines:
        num_fitting = len(remaining)
        while num_fitting > 1 and font.getlength(remaining[:num_fitting]) > width:
            num_fitting -= 1
        if num_fitting == len(remaining):
            return [*lines, remaining]
        if len(lines) == max_lines - 1:
            while num_fitting > 1 and font.getlength(remaining[:num_fitting] + "…") > width:
                num_fitting -= 1
            return [*lines, remaining[:num_fitting].rstrip() + "…"]
        candidates = range(max(1, num_fitting // 4), num_fitting + 1)
        breaks = [i for i in candidates if remaining[i] == " " or remaining[i - 1] in "_-/."]
        num_fitting = max(breaks, default=num_fitting)
        lines.append(remaining[:num_fitting].rstrip())
        remaining = remaining[num_fitting:].lstrip()
    return lines
