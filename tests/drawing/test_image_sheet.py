"""A sheet shows pixels where they are, boxes on them in their colours, and stays small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from cxrssl.drawing.image_sheet import COLOURS, Outline, Panel, save_image_sheet

MARGIN, TOP = 8, 32  # where the first panel begins


def drawn(panels: list[Panel], path: Path, *, panel_px: int) -> np.ndarray:
    save_image_sheet([panels], path, title="title", panel_px=panel_px)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_pixels_are_shown_one_by_one_to_a_grey_level(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sheet = drawn([Panel(pixels, "")], tmp_path / "sheet.png", panel_px=64)
    shown = sheet[TOP : TOP + 64, MARGIN : MARGIN + 64]
    enlarged = np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1)
    assert np.abs(shown - enlarged[:, :, None]).max() <= 1


@pytest.mark.parametrize("colour", COLOURS)
def test_a_box_lies_where_it_is_in_the_image_in_its_own_colour(tmp_path: Path, colour: str) -> None:
    grey = np.full((100, 200), 128, np.uint8)
    outline = Outline((40.0, 20.0, 120.0, 90.0), colour)
    sheet = drawn([Panel(grey, "", (outline,))], tmp_path / "sheet.png", panel_px=400)
    rows, columns = np.nonzero((sheet == ImageColor.getrgb(colour)).all(axis=2))
    assert (columns.min() - MARGIN, columns.max() - MARGIN) == (80, 239)
    assert (rows.min() - TOP, rows.max() - TOP) == (40, 179)


def test_boxes_at_and_beyond_the_edge_are_cut_and_names_can_not_break_a_line(
    tmp_path: Path,
) -> None:
    outlines = tuple(
        Outline(box, COLOURS[0], "a name\nof \x1b a class that is far longer than its picture")
        for box in ((-50.0, -50.0, 500.0, 500.0), (31.9, 31.9, 32.0, 32.0), (0.0, 0.0, 0.1, 0.1))
    )
    panel = Panel(np.zeros((32, 32), np.uint8), "first\nsecond\nthird", outlines, frame=COLOURS[1])
    sheet = drawn([panel, panel], tmp_path / "sheet.png", panel_px=96)
    assert sheet.shape[1] == 2 * (96 + MARGIN) + MARGIN


def test_a_title_is_wider_than_a_sheet_of_one_panel(tmp_path: Path) -> None:
    path, title = tmp_path / "sheet.png", "A title that is far longer than its only picture"
    save_image_sheet([[Panel(np.zeros((9, 9), np.uint8), "")]], path, title=title, panel_px=64)
    with Image.open(path) as picture:
        ink = np.asarray(picture.convert("L"))[: TOP - MARGIN] < 128
    columns = np.flatnonzero(ink.any(axis=0))
    assert columns[-1] > 3 * 64
    assert ink.shape[1] - columns[-1] >= MARGIN


def test_a_full_sheet_of_noise_stays_below_a_megabyte(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 512, 512), dtype=np.uint8)
    rows = [[Panel(pixels, "caption") for pixels in noise[start : start + 4]] for start in (0, 4)]
    save_image_sheet(rows, tmp_path / "sheet.png", title="noise", panel_px=256)
    assert (tmp_path / "sheet.png").stat().st_size < 1_000_000
