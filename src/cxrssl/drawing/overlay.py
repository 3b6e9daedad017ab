"""A radiograph with its detections drawn on it, as a PNG to look at.

For people: boxes, names, scores, and a legend beside the image. Not for measuring, since the image
is resampled, and not for the report, whose figures are SVG (`figures`, `table_figures`).
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
_STAGE_PX = (640, 480)  # the least, so that a narrow image leaves room for its tags
_DASH_PX = (14, 9)
_MOST_TAGS = 60
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
    """Write what `overlay_image` draws as a PNG without text, time or other metadata.

    It appears whole or not at all.

    Args:
        path: Of the PNG; its folder is made, a file that is there is replaced.
        pixels: As `overlay_image` takes them, like all that follows.
        findings: What is drawn.
        classes: All that the detector knows.
        title: Heads the legend.

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
            60 strongest have a name tag, or fewer where the picture has no room for them; the
            legend then says so.
        classes: All that the detector knows. The position decides the colour (one of 11) and the
            outline (solid, then dashed), so that a class looks the same in every picture; beyond
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
    tall = round((len(rows) + 3) * _ROW_EM * em + 2 * _MARGIN_EM * em)
    stage = (max(image.width, _STAGE_PX[0]), max(image.height, _STAGE_PX[1], tall))
    canvas = Image.new("RGB", (stage[0] + _PANEL_EM * em, stage[1]), _PANEL)
    canvas.paste("black", (0, 0, *stage))
    offset = ((stage[0] - image.width) // 2, (stage[1] - image.height) // 2)
    canvas.paste(image, offset)
    boxes = [_on_canvas(finding.box, pixels.shape, image.size, offset) for finding in ranked]
    num_tagged = _draw_findings(canvas, ranked, boxes, styles, font, stage)
    if num_tagged < len(ranked):
        note = f"{num_tagged} of {len(ranked)} boxes are named, the strongest first"
        rows += [_Row(""), *(_Row(line, _QUIET) for line in _wrapped(note, font, _room(em), 2))]
    _draw_legend(canvas, rows, font, em, stage[0])
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


def _on_canvas(
    box: tuple[float, float, float, float],
    shape: tuple[int, ...],
    size: tuple[int, int],
    offset: tuple[int, int],
) -> Rect:
    """A box in whole pixels of the canvas, cut at the image's edge and never empty."""
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
    stage: tuple[int, int],
) -> int:
    """Draw outlines, leader lines and tags, the strongest on top; return how many have tags."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    for finding, box in reversed(list(zip(ranked, boxes, strict=True))):
        _draw_outline(draw, box, styles[finding.label])
    texts = [_tag_text(finding, font, stage[0]) for finding in ranked[:_MOST_TAGS]]
    sizes = [tag_size(text, font) for text in texts]
    tags = placed_tags(boxes[:_MOST_TAGS], sizes, width=stage[0], height=stage[1])
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
    """A line 3 px wide in a thin dark halo, dark between its dashes too."""
    x0, y0, x1, y1 = box
    for step in (-2, 2):
        if x1 - x0 > 2 * step and y1 - y0 > 2 * step:
            draw.rectangle((x0 + step, y0 + step, x1 - step, y1 - step), outline=_HALO)
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
    room = width - tag_size(score, font)[0]
    return _wrapped(finding.label, font, room, 1)[0] + score


def _legend(
    ranked: Sequence[ScoredBox],
    styles: dict[str, _Style],
    classes: Sequence[str],
    title: str,
    font: Font,
    em: int,
) -> list[_Row]:
    """The title, how much was found, and the classes found, in the detector's order."""
    rows = [_Row(line) for line in _wrapped(title, font, _room(em), 4)]
    summary = f"{len(ranked)} finding{'s' * (len(ranked) != 1)}"
    summary = summary if ranked else "no findings above the threshold"
    rows += [_Row(line, _QUIET) for line in _wrapped(summary, font, _room(em), 2)] + [_Row("")]
    counts = Counter(finding.label for finding in ranked)
    for label in sorted(counts, key=classes.index):
        room = _room(em) - (_SAMPLE_EM + 2) * em
        first, *rest = _wrapped(label, font, room, 2)
        rows.append(_Row(first, _INK, _SAMPLE_EM, styles[label], str(counts[label])))
        rows += [_Row(line, _INK, _SAMPLE_EM) for line in rest]
    return rows


def _room(em: int) -> float:
    """The width of the legend's text, pixels."""
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


def _wrapped(text: str, font: Font, room: float, most: int) -> list[str]:
    """Break text into at most so many lines, at a space or after a joint; cut, it ends in `…`."""
    left = "".join(c if c.isprintable() else " " for c in text).strip()
    lines: list[str] = []
    while left or not lines:
        fits = len(left)
        while fits > 1 and font.getlength(left[:fits]) > room:
            fits -= 1
        if fits == len(left):
            return [*lines, left]
        if len(lines) == most - 1:
            while fits > 1 and font.getlength(left[:fits] + "…") > room:
                fits -= 1
            return [*lines, left[:fits].rstrip() + "…"]
        ends = range(max(1, fits // 4), fits + 1)
        joints = [i for i in ends if left[i] == " " or left[i - 1] in "_-/."]
        fits = max(joints, default=fits)
        lines.append(left[:fits].rstrip())
        left = left[fits:].lstrip()
    return lines
