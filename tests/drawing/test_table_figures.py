"""Figures of a table can be read, whatever the names in it."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from cxrssl.drawing.table_figures import Readings, write_class_balance, write_readings


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
        texts = [element.text for element in root.iter() if element.text]
        assert shown in texts or f"1 {shown}, 1 reader" in texts
        assert (tmp_path / f"{stem}.png").stat().st_size > 1000
