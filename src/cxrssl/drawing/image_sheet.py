"""A sheet of radiographs as a network sees them, with boxes and captions, as a small PNG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from cxrssl.core.files import replacing
from cxrssl.core.images import Pixels
from cxrssl.core.printable import printable
from cxrssl.drawing.tags import Font, draw_tag, placed_tags, tag_size

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
"""Okabe and Ito's colours, which differ for every kind of colour vision."""
_MARGIN_PX, _FONT_PX, _LINE_PX = 8, 12, 16
_CAPTION_LINES = 2
_NUM_GREYS = 256 - len(COLOURS)


@dataclass(frozen=True)
class Outline:
    """A box drawn on a panel.

    Attributes:
        box: xyxy, pixels of the panel's image.
        colour: Colour, of `COLOURS`.
        label: Text beside it, empty for none.
    """

    box: tuple[float, float, float, float]
    colour: str
    label: str = ""


@dataclass(frozen=True)
class Panel:
    """One image of a sheet.

    Attributes:
        pixels: [H, W] uint8.
        caption: At most two lines below it.
        outlines: Boxes drawn on it.
        frame: Colour of a frame around it, None for no frame.
    """

    pixels: Pixels
    caption: str
    outlines: tuple[Outline, ...] = ()
    frame: str | None = None


def save_image_sheet(
    rows: Sequence[Sequence[Panel]], path: Path, *, title: str, panel_px: int
) -> None:
    """Write panels, a row of them each, as a PNG of 256 colours, nearly all of them greys.

    Args:
        rows: At least one, of one panel or more.
        path: The PNG.
        title: Title above all panels.
        panel_px: Longest side of an image on the sheet; smaller images are shown pixel by pixel.
    """
    font = ImageFont.load_default(size=_FONT_PX)
    cell_width = panel_px + _MARGIN_PX
    cell_height = cell_width + _CAPTION_LINES * _LINE_PX
    top = _LINE_PX + 2 * _MARGIN_PX
    text = printable(title)
    # A sheet of one panel is narrower than its title.
    text_width = math.ceil(font.getlength(text)) + 2 * _MARGIN_PX
    width = max(max(len(row) for row in rows) * cell_width + _MARGIN_PX, text_width)
    canvas = Image.new("RGB", (width, top + len(rows) * cell_height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN_PX, _MARGIN_PX), text, fill="black", font=font)
    for row_index, row in enumerate(rows):
        for column, panel in enumerate(row):
            corner = (_MARGIN_PX + column * cell_width, top + row_index * cell_height)
            _draw_panel(canvas, panel, corner, panel_px, font)
    with replacing(path) as temporary:
        _indexed(canvas).save(temporary, format="PNG", optimize=True)


def _draw_panel(
    canvas: Image.Image, panel: Panel, corner: tuple[int, int], panel_px: int, font: Font
) -> None:
    height, width = panel.pixels.shape
    scale = panel_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    image = Image.fromarray(np.ascontiguousarray(panel.pixels)).resize(size, method).convert("RGB")
    _draw_outlines(image, panel.outlines, scale, font)
    canvas.paste(image, corner)
    draw = ImageDraw.Draw(canvas)
    if panel.frame is not None:
        left, top = corner
        edges = (left - 2, top - 2, left + size[0] + 1, top + size[1] + 1)
        draw.rectangle(edges, outline=panel.frame, width=2)
    for line, text in enumerate(panel.caption.split("\n")[:_CAPTION_LINES]):
        text_position = (corner[0], corner[1] + panel_px + 3 + line * _LINE_PX)
        draw.text(text_position, printable(text), fill="black", font=font)


def _draw_outlines(
    image: Image.Image, outlines: Sequence[Outline], scale: float, font: Font
) -> None:
    draw = ImageDraw.Draw(image)
    last_x, last_y = image.width - 1, image.height - 1
    boxes = []
    for outline in outlines:
        x0, y0, x1, y1 = (round(scale * edge) for edge in outline.box)
        x0, y0 = min(max(x0, 0), last_x), min(max(y0, 0), last_y)
        boxes.append((x0, y0, min(max(x1 - 1, x0), last_x), min(max(y1 - 1, y0), last_y)))
        draw.rectangle(boxes[-1], outline=outline.colour, width=2)
    labels = [printable(outline.label) for outline in outlines]
    sizes = [tag_size(label, font) for label in labels]
    tags = placed_tags(boxes, sizes, width=image.width, height=image.height)
    for tag, label, outline in zip(tags, labels, outlines, strict=True):
        if tag is not None and label:
            draw_tag(image, tag, label, outline.colour, font)


def _indexed(canvas: Image.Image) -> Image.Image:
    """Return an RGB canvas with a byte a pixel: the sheet's colours, all else as a grey level.

    Pillow's own `quantize` looks colours up by their upper bits, and would keep 64 greys.
    """
    pixels = np.asarray(canvas)
    greys = np.rint(np.linspace(0, 255, _NUM_GREYS)).astype(np.uint8)
    indices = np.rint(pixels.mean(axis=2) * (_NUM_GREYS - 1) / 255).astype(np.uint8)
    colours = np.array([ImageColor.getrgb(colour) for colour in COLOURS], np.uint8)
    for index, colour in enumerate(colours):
        indices[(pixels == colour).all(axis=2)] = _NUM_GREYS + index
    indexed = Image.fromarray(indices)
    palette = np.concatenate([np.repeat(greys[:, None], 3, axis=1), colours])
    indexed.putpalette(palette.flatten().tolist())
    return indexed
