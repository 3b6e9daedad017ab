"""The `annotations` of a COCO file: the box of each, and whether it is to be ignored."""

import math
from dataclasses import dataclass
from typing import Any

from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.shapes import NOTHING, Corners, segmentation_extent, turned_extent

# COCO's crowds, LVIS's and CityPersons' regions, PASCAL VOC's doubtful objects.
_IGNORING = {"iscrowd", "ignore", "difficult"}
_FALSE_WORDS = {"", "0", "false", "no", "none", "null", "nan", "f", "n"}


@dataclass(frozen=True)
class Mark:
    """One annotation.

    Attributes:
        number: Its place, from 0.
        image: COCO id of its image; None if it has none.
        category: COCO id of its category; None if it has none.
        reader: Who drew it, as it says itself.
        corners: Its upright box, NaN throughout if it has none.
        is_ignored: Whether it is a crowd, difficult or to be ignored: no truth to learn from.
        is_outlined: Whether the box is the extent of a polygon or mask, in place of a `bbox`.
        is_turned: Whether the box is the one around a turned box.
        fault: What else is wrong with it, or "".
    """

    number: int
    image: int | str | None
    category: int | str | None
    reader: str | None
    corners: Corners
    is_ignored: bool
    is_outlined: bool
    is_turned: bool
    fault: str = ""


def mark_of(number: int, entry: dict[str, Any]) -> Mark:
    """Return an entry of `annotations`.

    Raises:
        TypeError: If an id is of another type than ids have.
        ValueError: If an id is a number that is not whole, or a side of its box beyond all numbers.
    """
    reader = entry.get("reader")
    attributes = entry.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    corners = _box(entry.get("bbox"))
    # Tools that draw outlines alone write four zeros, too.
    is_outlined = corners is None or (corners == (0, 0, 0, 0) and bool(entry.get("segmentation")))
    if corners is None or is_outlined:
        corners = segmentation_extent(entry.get("segmentation"))
    turned, fault = _turned(corners, entry.get("rotation"), attributes.get("rotation"))
    return Mark(
        number,
        _id_or_none(entry.get("image_id")),
        _id_or_none(entry.get("category_id")),
        None if reader is None else str(reader),
        turned,
        is_ignored=_is_ignored(entry) or _is_ignored(attributes),
        is_outlined=is_outlined and not math.isnan(corners[0]),
        is_turned=turned is not corners and not math.isnan(corners[0]),
        fault=fault,
    )


def _id_or_none(value: object) -> int | str | None:
    return None if value is None else normal_id(value)


def _box(box: object) -> Corners | None:
    """Return the corners of a `bbox`; None if there is none, NaN if it is not four numbers."""
    if not isinstance(box, list):
        return None if box is None else NOTHING
    if not any(box) and not (len(box) == 4 and 0 in box):
        return None
    if len(box) != 4:
        return NOTHING
    try:
        x, y, width, height = (float(side) for side in box)
    except OverflowError as error:
        raise ValueError("a bbox with a side beyond all numbers") from error
    except (TypeError, ValueError):
        return NOTHING
    return x, y, x + width, y + height


def _turned(corners: Corners, beside_box: object, attribute: object) -> tuple[Corners, str]:
    """Return the box around a box that is turned, the same if it is not; and a fault, or ""."""
    # Label Studio writes its rotation beside the box and turns about the top left corner; CVAT
    # writes an attribute and turns about the centre.
    for value, around_corner in ((beside_box, True), (attribute, False)):
        if value is None or value in ("", False):
            continue
        try:
            degrees = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            degrees = math.nan
        if not math.isfinite(degrees):
            return corners, "its rotation is no number; expected degrees"
        if degrees % 360:
            return turned_extent(corners, degrees, around_corner=around_corner), ""
    return corners, ""


def _is_ignored(entry: dict[str, Any]) -> bool:
    return any(
        key.casefold().replace("_", "") in _IGNORING and _is_set(value)
        for key, value in entry.items()
    )


def _is_set(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() not in _FALSE_WORDS
    if isinstance(value, float) and math.isnan(value):
        return False
    return bool(value)
