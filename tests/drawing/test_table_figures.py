"""Names beside a radiograph stay apart, whatever the boxes."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cxrssl.drawing.table_figures import Readings, write_class_balance, write_readings


@pytest.mark.parametrize(
    "corners",
    [
        [(60, 45)] * 8,
        [(60, 88), (61, 89), (62, 90), (10, 90), (11, 89)],
        [(x, y) for x in (5, 80) for y in (0, 1, 40, 41)],
    ],
    ids=["all in one place", "at the bottom", "on both sides"],
)
def test_no_two_names_overlap(tmp_path: Path, corners: list[tuple[int, int]]) -> None:
    boxes = np.array([(x, y, x + 10, y + 10) for x, y in corners], np.float32)
    num = len(boxes)
    pixels = np.zeros((100, 100), np.uint8)
    one = Readings(pixels, 1.2, boxes, ["R1"] * num, boxes, ["NAME"] * num, [1] * num)
    write_readings(tmp_path / "figure", [one])
    svg = (tmp_path / "figure.svg").read_text()
    bottom = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])  # type: ignore[index]
    # Text keeps its place in the file: left or right of the picture, and how far down, in points.
    anchored = re.findall(
        r"text-anchor: (start|end)[^>]*? x=\"[\d.]+\" y=\"([\d.]+)\"[^>]*>NAME", svg
    )
    assert len(anchored) == num
    for side in ("start", "end"):
        heights = sorted(float(y) for anchor, y in anchored if anchor == side)
        assert all(low - high >= 8 for high, low in pairwise(heights))
        assert all(8 <= y <= bottom for y in heights)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("R\x1b[31m9", "R\\x1b[31m9"),
        ("a\x00b", "a\\x00b"),
        ("half\udcff", "half\\udcff"),
        ("\u202egnp", "\\u202egnp"),
        ("\ufffe", "\\ufffe"),
        ("$x$ and $\\y", "$x$ and $\\y"),
        ("<b>&amp;", "<b>&amp;"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_every_name_makes_a_figure_that_xml_can_read(tmp_path: Path, name: str, shown: str) -> None:
    boxes = np.array([(10, 10, 30, 30)], np.float32)
    pixels = np.zeros((100, 100), np.uint8)
    write_readings(tmp_path / "figure", [Readings(pixels, 1.2, boxes, [name], boxes, [name], [1])])
    write_class_balance(tmp_path / "balance", [name, "b"], before=[1, 2], after=[3, 4])
    for stem in ("figure", "balance"):
        root = ElementTree.parse(tmp_path / f"{stem}.svg")
        assert shown in [element.text for element in root.iter() if element.text]
        assert (tmp_path / f"{stem}.png").stat().st_size > 1000
