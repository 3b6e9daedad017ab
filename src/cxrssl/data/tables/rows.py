"""The one form that every table is brought into, and what can be wrong with its rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable

COLUMNS = ("image_id", "reader", "category", "x_min", "y_min", "x_max", "y_max")
BOX_COLUMNS = list(COLUMNS[3:])
RASTER_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
IMAGE_SUFFIXES = RASTER_SUFFIXES | {".dicom", ".dcm"}
Unit = Literal["line", "annotation"]
# What a table's boxes are made of, as its user knows them.
_SIDES = {"line": "x_min, y_min, x_max, y_max", "annotation": "x, y, width, height"}
_ORDER = {
    "line": "x_min < x_max and y_min < y_max",
    "annotation": "a width and a height above 0 in x, y, width, height",
}
_IMAGE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Table:
    """Findings as readers marked them.

    Attributes:
        rows: A row a mark in the order of the file, columns `COLUMNS`; boxes xyxy in original
            pixels, float64. A reader who found nothing in an image has one row of category
            "No finding" with NaN for a box.
        classes: Class names in the order of their ids.
        faults: Image id -> what is wrong with its rows. These images can't be used.
        parts: Image id -> "train" or "test", where the source itself divides its images.
        sizes: Image id -> (width, height) in pixels, where the table states them.
        notes: What was guessed, converted or left out of the table, a sentence each.
        unmarked: Image id -> why all its marks were left out. It takes part without a row: it is
            neither an image with findings nor one without.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    faults: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unmarked: Mapping[str, str] = field(default_factory=dict)


def is_id(name: str) -> bool:
    """Return whether `name` may be an image id: safe as a file name, of letters, digits, . _ -."""
    return _IMAGE_ID.fullmatch(name) is not None


def without_truth(why: str) -> str:
    """Return the note on an image whose marks were all left out, for `Table.unmarked`."""
    return (
        f"{why}: it is stored without boxes, and takes part neither as an image with findings nor "
        "as one without"
    )


def checked_rows(
    rows: pd.DataFrame, *, numbers: NDArray[np.int64], unit: Unit
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Bring boxes into shape and find the rows that can't be used.

    Args:
        rows: Columns `COLUMNS`; box columns may hold anything.
        numbers: [N] number of each row in its file, for messages.
        unit: What messages call a row.

    Returns:
        The rows with boxes as float64, NaN throughout for "No finding"; rows whose image id is no
        id left out. And image id (or place, for a bad id) -> its first fault.
    """
    rows = rows.copy()
    rows[BOX_COLUMNS] = rows[BOX_COLUMNS].apply(pd.to_numeric, errors="coerce").astype("float64")
    drawn = rows["category"].ne(NO_FINDING)
    rows.loc[~drawn, BOX_COLUMNS] = np.nan
    boxes = rows[BOX_COLUMNS].to_numpy(np.float64)
    is_finite = np.isfinite(boxes).all(axis=1)
    is_empty = is_finite & ~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    has_id = rows["image_id"].map(is_id).to_numpy(bool)
    faults: dict[str, str] = {}
    for index in np.flatnonzero(~has_id | (drawn.to_numpy(bool) & (~is_finite | is_empty))):
        location, row = f"{unit} {numbers[index]}", rows.iloc[index]
        if not has_id[index]:
            # Not quoted: a name that is not an id may be anything, a patient's among it.
            faults[location.replace(" ", "-")] = (
                "its image id has characters other than letters, digits, '.', '_' and '-', or a "
                "leading dot. Rename the image and its file."
            )
            continue
        category = printable(row["category"])
        if is_empty[index]:
            sides = boxes[index].copy()
            if unit == "annotation":
                sides[2:] -= sides[:2]
            box = ", ".join(f"{value:g}" for value in sides)
            fault = f"{category} has a box without an area, ({box}); expected {_ORDER[unit]}"
        else:
            fault = f"{category} has no whole box; expected four numbers: {_SIDES[unit]}"
        faults.setdefault(row["image_id"], f"{location}: {fault}")
    return rows[has_id].reset_index(drop=True), faults
