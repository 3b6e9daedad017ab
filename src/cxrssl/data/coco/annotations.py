"""The `annotations` of a COCO file as columns, by one set of rules for all who read them.

Shapes: N annotations, in the order of the file.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.coco.json import Annotation, Id, extent_of, normal_ids
from cxrssl.data.coco.shapes import rotated_extent

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# COCO's crowds, LVIS's and CityPersons' regions, PASCAL VOC's doubtful objects, as CVAT has them.
_FLAGS = {"iscrowd", "ignore", "difficult"}
_FALSE_WORDS = {"", "0", "false", "no", "none", "null", "nan", "f", "n"}
_NO_BOX = [math.nan] * 4
_MAX_NAMED = 5


@dataclass(frozen=True)
class Rotation:
    """How a box is turned: clockwise on the screen, NaN where it is not a number of degrees."""

    degrees: float
    around_corner: bool


@dataclass(frozen=True)
class Annotations:
    """Annotations as columns.

    Attributes:
        images: N image ids as `normal_ids` returns them; None where there is none.
        categories: N category ids likewise.
        boxes: [N, 4] xywh in pixels before they are turned; NaN throughout where an annotation has
            neither four numbers nor an outline.
        outlined: [N] whether the box is the extent of a polygon or mask, in place of a `bbox`.
        crowd: [N] whether the box stands for many.
        doubtful: [N] whether the annotation, or one of its attributes, says ignore or difficult.
        rotations: Row -> how its box is turned.
        readers: N names of who drew it, "" where the file does not say.
    """

    images: list[Any]
    categories: list[Any]
    boxes: Floats
    outlined: Flags
    crowd: Flags
    doubtful: Flags
    rotations: dict[int, Rotation]
    readers: list[str]

    def corners(self) -> Floats:
        """Return [N, 4] upright boxes xyxy; of a turned box, the one around it."""
        corners = np.concatenate([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]], axis=1)
        for row, rotation in self.rotations.items():
            if math.isfinite(rotation.degrees):
                x_min, y_min, x_max, y_max = corners[row].tolist()
                box = (x_min, y_min, x_max, y_max)
                corners[row] = rotated_extent(
                    box, rotation.degrees, around_corner=rotation.around_corner
                )
        return corners


def annotations_of(path: Path, entries: Sequence[Annotation]) -> Annotations:
    """Return annotations as columns.

    Raises:
        DataError: If an id is a number that is not whole.
    """
    boxes, outlined = _boxes(entries)
    rotations = {
        row: rotation for row, entry in enumerate(entries) if (rotation := _rotation(entry))
    }
    return Annotations(
        normal_ids(path, [entry.image_id for entry in entries], "image"),
        normal_ids(path, [entry.category_id for entry in entries], "category"),
        boxes,
        outlined,
        np.array([_is_set(e.iscrowd) or _is_set(e.is_crowd) for e in entries], bool),
        np.array([_is_doubtful(entry) for entry in entries], bool),
        rotations,
        ["" if entry.reader is None else str(entry.reader) for entry in entries],
    )


def _boxes(entries: Sequence[Annotation]) -> tuple[Floats, Flags]:
    """Return boxes [N, 4], and which are extents [N].

    No `bbox`, an empty one and, where there is an outline, four zeros are none: tools that draw
    outlines alone write them.
    """
    values = [
        entry.bbox if isinstance(entry.bbox, list) and len(entry.bbox) == 4 else _NO_BOX
        for entry in entries
    ]
    try:
        boxes = np.array(values, np.float64).reshape(len(entries), 4)
    except (TypeError, ValueError, OverflowError):
        boxes = np.array([[_number(value) for value in box] for box in values])
    boxes[np.isnan(boxes).any(axis=1)] = np.nan
    outlined = np.zeros(len(entries), bool)
    for row, entry in enumerate(entries):
        if entry.bbox and (not isinstance(entry.bbox, list) or any(entry.bbox)):
            continue
        extent = extent_of(entry.segmentation)
        if extent is not None:
            boxes[row], outlined[row] = extent, True
    return boxes, outlined


def _number(value: Any) -> float:  # noqa: ANN401 - whatever JSON can hold
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _rotation(entry: Annotation) -> Rotation | None:
    if not (entry.rotation or entry.attributes):
        return None
    # Label Studio writes its rotation beside the box and turns about the top left corner; CVAT
    # writes an attribute and turns about the centre.
    attribute = entry.attributes.get("rotation") if isinstance(entry.attributes, dict) else None
    for value, around_corner in ((entry.rotation, True), (attribute, False)):
        degrees = 0.0 if value is None or value == "" else _number(value)
        if not math.isfinite(degrees) or degrees % 360:
            return Rotation(degrees if math.isfinite(degrees) else math.nan, around_corner)
    return None


def _is_doubtful(entry: Annotation) -> bool:
    stated = (entry.ignore, entry.ignore_, entry.difficult, entry.difficult_)
    if not any(stated) and not entry.attributes:
        return False
    attributes = entry.attributes if isinstance(entry.attributes, dict) else {}
    return any(map(_is_set, stated)) or any(
        key.casefold().replace("_", "") in _FLAGS and _is_set(value)
        for key, value in attributes.items()
    )


def _is_set(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() not in _FALSE_WORDS
    return bool(value)


def find_unlisted(
    path: Path, entries: Annotations, image_ids: Collection[Id], category_ids: Collection[Id]
) -> tuple[Flags, Flags, list[str]]:
    """Return which annotations name an image [N] or a category [N] that is not listed.

    They are to be left out, as pycocotools does; the third value says so, a sentence each. An
    annotation without a listed image is not among those without a listed category.

    Raises:
        DataError: If all do, or categories are counted from 0 in one list and from 1 in the other.
    """
    no_image = np.array([key not in image_ids for key in entries.images], bool)
    no_class = ~no_image & np.array([key not in category_ids for key in entries.categories], bool)
    missing = Counter(entries.categories[row] for row in np.flatnonzero(no_class))
    if len(no_image) and no_image.all():
        raise DataError(
            f"{path}: none of its {len(no_image)} annotations names a listed image. They name "
            f"{_ids_text(entries.images)}; listed are {_ids_text(image_ids)}. Correct image_id."
        )
    if no_class.any() and no_class.sum() == (~no_image).sum():
        raise DataError(
            f"{path}: no annotation names a listed category. They name {_ids_text(missing)}; "
            f"listed are {_ids_text(category_ids)}. Correct category_id."
        )
    last = max((key for key in category_ids if isinstance(key, int)), default=0)
    if 0 in missing and 1 in category_ids and last not in entries.categories:
        raise DataError(
            f"{path}: annotations seem to count categories from 0 and the list from 1: "
            f"{missing[0]} name category 0, which is not listed, and none the last, "
            f"{last}. Correct category_id, or every box gets its neighbour's class."
        )
    notes = []
    if no_image.any():
        names = _ids_text(key for key in entries.images if key not in image_ids)
        notes.append(
            f"{no_image.sum()} annotation(s) name an image that is not listed ({names}) and are "
            "not used"
        )
    if missing:
        notes.append(
            f"{missing.total()} annotation(s) name a category that is not listed "
            f"({_ids_text(missing)}) and are not used"
        )
    return no_image, no_class, notes


def _ids_text(ids: Iterable[object]) -> str:
    """Return the first few of some ids as a text."""
    names = [printable("none" if key is None else repr(key))[:80] for key in dict.fromkeys(ids)]
    more = [f"{len(names) - _MAX_NAMED} more"] if len(names) > _MAX_NAMED else []
    return ", ".join([*names[:_MAX_NAMED], *more])
