"""Names beside a radiograph stay apart, whatever the boxes."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cxrssl.output.table_figures import Readings, write_readings


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
