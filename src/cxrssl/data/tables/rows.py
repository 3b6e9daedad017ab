"""The one form that every table is brought into, and what can be wrong with its rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable

COLUMNS = ("image_id", "reader", "category", "x_min", "y_min", "x_max", "y_max")
BOX_COLUMNS = list(COLUMNS[3:])
RASTER_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
IMAGE_SUFFIXES = RASTER_SUFFIXES | {".dicom", ".dcm"}
BoxForm = Literal["corners", "sides", "center"]
"""What a table's boxes are made of: two corners, a corner and sides, or a centre and sides."""
BoxUnit = Literal["px", "fraction"]
"""Whether a table's boxes are pixels of the image, or fractions of its width and height."""
_NUMBERS = {
    "corners": "x_min, y_min, x_max, y_max",
    "sides": "x, y, width, height",
    "center": "x_center, y_center, width, height",
}
_ORDER = {
    "corners": "x_min < x_max and y_min < y_max",
    "sides": "a width and a height above 0 in x, y, width, height",
    "center": "a width and a height above 0 in x_center, y_center, width, height",
}
# Tools that write fractions round them, and clip them badly.
_FRACTION_TOLERANCE = 0.01
_PLACE_KEY = re.compile(r"[^A-Za-z0-9._-]+")
_IMAGE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Table:
    """Findings as readers marked them.

    Attributes:
        rows: A row a mark in the order of the file, columns `COLUMNS`; boxes xyxy in original
            pixels or, by `unit`, fractions of the image's sides, float64. A reader who found
            nothing in an image has one row of category "No finding" with NaN for a box.
        classes: Class names in the order of their ids.
        faults: Image id -> what is wrong with its rows. These images can't be used.
        parts: Image id -> "train", "val" or "test", where the source itself divides its images.
        sizes: Image id -> (width, height) in pixels, where the table states them.
        notes: What was guessed, converted or left out of the table, a sentence each.
        unmarked: Image id -> why all its marks were left out. It takes part without a row: it is
            neither an image with findings nor one without.
        unread: Images with a file that no row names. They are stored, and take part as the
            unmarked do.
        unit: What `rows` gives boxes in.
        patients: Image id -> patient, where the source knows; see `data.tables.patients`.
        kinds: Image id -> "normal" or "other finding", for images without a box of which the source
            says so.
        tables: Image id -> names of the files that name it, in a source of several.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    faults: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unmarked: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    unit: BoxUnit = "px"
    patients: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
    rows: pd.DataFrame, *, places: Sequence[str], form: BoxForm, unit: BoxUnit = "px"
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Bring boxes into shape and find the rows that can't be used.

    Args:
        rows: Columns `COLUMNS`; box columns may hold anything.
        places: [N] where each row stands, such as "line 3", for messages.
        form: How the file writes a box, for messages.
        unit: What boxes are in.

    Returns:
        The rows with boxes as float64, NaN throughout for "No finding"; rows whose image id is no
        id left out. And image id (or place, for a bad id) -> its first fault.
    """
    rows = rows.copy()
    rows[BOX_COLUMNS] = rows[BOX_COLUMNS].apply(pd.to_numeric, errors="coerce").astype("float64")
    drawn = rows["category"].ne(NO_FINDING)
    rows.loc[~drawn, BOX_COLUMNS] = np.nan
    boxes = rows[BOX_COLUMNS].to_numpy(np.float64)
    has_id = rows["image_id"].map(is_id).to_numpy(bool)
    box_faults = _box_faults(boxes, form, unit)
    faults: dict[str, str] = {}
    is_bad = np.array([fault != "" for fault in box_faults], bool) & drawn.to_numpy(bool)
    for index in np.flatnonzero(~has_id | is_bad).tolist():
        row = rows.iloc[index]
        if not has_id[index]:
            # Not quoted: a name that is not an id may be anything, a patient's among it.
            faults[_PLACE_KEY.sub("-", places[index])] = (
                "its image id has characters other than letters, digits, '.', '_' and '-', or a "
                "leading dot. Rename the image and its file."
            )
            continue
        fault = f"{places[index]}: {printable(row['category'])} has {box_faults[index]}"
        faults.setdefault(row["image_id"], fault)
    return rows[has_id].reset_index(drop=True), faults


def _box_faults(boxes: NDArray[np.float64], form: BoxForm, unit: BoxUnit) -> list[str]:
    """Return what is wrong with each of [N, 4] xyxy boxes, "" where nothing is."""
    is_finite = np.asarray(np.isfinite(boxes).all(axis=1), bool)
    has_area = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1), bool)
    is_empty = is_finite & ~has_area
    is_other_unit: NDArray[np.bool_]
    if unit == "px":
        # A box inside the first pixel is none that a reader draws.
        is_other_unit = is_finite & (boxes >= 0).all(axis=1) & (boxes[:, 2:] <= 1).all(axis=1)
    else:
        limits = -_FRACTION_TOLERANCE, 1 + _FRACTION_TOLERANCE
        is_other_unit = is_finite & ((boxes < limits[0]) | (boxes > limits[1])).any(axis=1)
    faults = [""] * len(boxes)
    for index in np.flatnonzero(~is_finite | is_empty | is_other_unit).tolist():
        if not is_finite[index]:
            faults[index] = f"no whole box; expected four numbers: {_NUMBERS[form]}"
            continue
        box = ", ".join(f"{value:g}" for value in _as_written(boxes[index], form))
        if is_empty[index]:
            faults[index] = f"a box without an area, ({box}); expected {_ORDER[form]}"
        elif unit == "px":
            faults[index] = (
                f"a box inside one pixel, ({box}): it seems to be in fractions of the image, and "
                "boxes here are in pixels. Multiply it by the image's width and height"
            )
        else:
            faults[index] = (
                f"a box outside the image, ({box}): boxes here are fractions of its width and "
                "height, from 0 to 1, and this one seems to be in pixels. Divide it by them"
            )
    return faults


def _as_written(box: NDArray[np.float64], form: BoxForm) -> list[float]:
    """Return a box xyxy as its file has it."""
    x_min, y_min, x_max, y_max = box.tolist()
    width, height = x_max - x_min, y_max - y_min
    match form:
        case "corners":
            return [x_min, y_min, x_max, y_max]
        case "sides":
            return [x_min, y_min, width, height]
        case "center":
            return [x_min + width / 2, y_min + height / 2, width, height]
        case _:
            assert_never(form)
