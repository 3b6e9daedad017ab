"""`predictions.csv`: a row a finding, for spreadsheets."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from cxrssl.core.files import replacing
from cxrssl.core.printable import plain_cell
from cxrssl.predict.found import Found

_COLUMNS = ("file", "class", "score", "x_min", "y_min", "x_max", "y_max", "width", "height")


def write(out: Path, found: Iterable[Found]) -> dict[str, str]:
    """Write `predictions.csv`; boxes in pixels of the file's image, whose size is in each row.

    Cells that a spreadsheet would run as a formula begin with an apostrophe.
    """
    with (
        replacing(out / "predictions.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for image in found:
            writer.writerows(_rows(image))
    return {}


def _rows(image: Found) -> Iterator[list[str | int]]:
    for finding in image:
        box = [f"{side:.2f}" for side in finding.box]
        names = plain_cell(image.name), plain_cell(finding.label)
        yield [*names, f"{finding.score:.5f}", *box, image.width, image.height]
