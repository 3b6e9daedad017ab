"""Shapes that annotators drew in Label Studio, as upright boxes in fractions of the image.

Label Studio writes percent of the width and of the height; a rectangle is turned clockwise about
its top left corner, an ellipse about its centre, in pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxrssl.core.sizes import Size, stated_size
from cxrssl.data.coco.shapes import clipped, rotated_extent
from cxrssl.data.tables.marks import NO_BOX, Corners

_BOXED = {"rectangle", "polygon", "ellipse"}
_AREAS = {"brush", "bitmask", "magicwand"}
_POINTS = {"keypoint", "vector"}


@dataclass(frozen=True)
class Region:
    """A shape.

    Attributes:
        shape: "rectangle", "polygon", "ellipse", or another without a box.
        labels: Names of its classes.
        box: Corners xyxy in fractions of the image's sides; NaN where it has none.
        is_turned: Whether the box is the upright one around a turned shape.
        fault: Why its box can't be told, "" if it can.
        size: (width, height) of the image in pixels, None where it is not said.
    """

    shape: str
    labels: list[str]
    box: Corners
    is_turned: bool
    fault: str
    size: Size | None

    @property
    def is_box(self) -> bool:
        """Whether it is a shape that has a box."""
        return self.shape in _BOXED

    @property
    def is_area(self) -> bool:
        """Whether it is a shape whose box is there and can't be told."""
        return self.shape in _AREAS


def labels_by_region(results: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the labels that stand apart from their shape, by the id that both have."""
    return {
        str(result["id"]): _labels(result, "labels")
        for result in results
        if result.get("type") == "labels" and "id" in result
    }


def region_of(result: Mapping[str, Any], apart: Mapping[str, list[str]]) -> Region | None:
    """Return the shape of an entry of `result`; None for an entry that is none.

    Args:
        result: The entry.
        apart: What `labels_by_region` returned.
    """
    value = result.get("value")
    kind = result.get("type")
    if not isinstance(value, dict):
        return None
    if not isinstance(kind, str):  # JSON-MIN has the key of the labels alone
        kind = next((k for k in value if isinstance(k, str) and k.endswith("labels")), "rectangle")
    shape = kind.removesuffix("labels")
    if shape not in _BOXED | _AREAS | _POINTS:
        return None
    labels = _labels(result, kind) or apart.get(str(result.get("id")), [])
    size = stated_size(result.get("original_width"), result.get("original_height"))
    if shape not in _BOXED:
        return Region(shape, labels, NO_BOX, False, "", size)
    if _number(result.get("image_rotation", 0)) % 360:
        fault = "the image was turned while it was annotated (image_rotation)"
        return Region(shape, labels, NO_BOX, False, fault, size)
    return _boxed(shape, labels, value, size)


def _boxed(shape: str, labels: list[str], value: Mapping[str, Any], size: Size | None) -> Region:
    if shape == "polygon":
        return Region(shape, labels, _extent(value.get("points")), False, "", size)
    degrees = _number(value.get("rotation") or 0)
    x, y = _number(value.get("x")), _number(value.get("y"))
    if shape == "rectangle":
        box = (x, y, x + _number(value.get("width")), y + _number(value.get("height")))
    else:
        radius_x, radius_y = _number(value.get("radiusX")), _number(value.get("radiusY"))
        box = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
    fractions = _scaled(box, 1 / 100, 1 / 100)
    if degrees % 360 == 0:
        return Region(shape, labels, fractions, False, "", size)
    if size is None or not math.isfinite(degrees):
        fault = (
            "it is turned, and the image's size is not said (original_width, original_height)"
            if size is None
            else "its rotation is not a number of degrees"
        )
        return Region(shape, labels, NO_BOX, False, fault, size)
    pixels = _scaled(fractions, *size)
    turned = (
        rotated_extent(pixels, degrees, around_corner=True)
        if shape == "rectangle"
        else _ellipse_extent(pixels, degrees)
    )
    if not all(map(math.isfinite, turned)):
        return Region(shape, labels, NO_BOX, True, "", size)
    box = _scaled(clipped(turned, size), 1 / size[0], 1 / size[1])
    return Region(shape, labels, box, True, "", size)


def _ellipse_extent(corners: Corners, degrees: float) -> Corners:
    """Return the upright box around an ellipse that is turned about its centre."""
    x_min, y_min, x_max, y_max = corners
    x, y, a, b = (x_min + x_max) / 2, (y_min + y_max) / 2, (x_max - x_min) / 2, (y_max - y_min) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width, half_height = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
    return x - half_width, y - half_height, x + half_width, y + half_height


def _extent(points: object) -> Corners:
    """Return the box around points in percent; NaN unless they are three or more pairs."""
    if not isinstance(points, list) or len(points) < 3:
        return NO_BOX
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        return NO_BOX
    xs, ys = ([_number(point[axis]) / 100 for point in points] for axis in (0, 1))
    if not all(map(math.isfinite, (*xs, *ys))):
        return NO_BOX
    return min(xs), min(ys), max(xs), max(ys)


def _scaled(corners: Corners, width: float, height: float) -> Corners:
    x_min, y_min, x_max, y_max = corners
    return x_min * width, y_min * height, x_max * width, y_max * height


def _labels(result: Mapping[str, Any], key: str) -> list[str]:
    value = result.get("value")
    labels = value.get(key) if isinstance(value, dict) else None
    if not isinstance(labels, list):
        return []
    texts = [label.strip() for label in labels if isinstance(label, str)]
    # JSON can hold half a character, which no table takes.
    return [text.encode(errors="backslashreplace").decode() for text in texts if text]


def _number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
