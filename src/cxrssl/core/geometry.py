"""Affine maps from an image to a view of it, for pixels and boxes alike.

Coordinates are those of boxes: 0 is the left or upper edge of the first pixel, and pixel i is from
i to i + 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes


@dataclass(frozen=True)
class Geometry:
    """Where a point of an image is in a view of it.

    Attributes:
        matrix: [2, 3] float64; the point (x, y) of the image is at `matrix @ (x, y, 1)`.
    """

    matrix: NDArray[np.float64]

    def after(self, first: "Geometry") -> "Geometry":
        """Return the map that does `first`, and then this one."""
        return Geometry((_square(self.matrix) @ _square(first.matrix))[:2])

    def inverse(self) -> "Geometry":
        """Return the map from the view back to the image.

        Raises:
            numpy.linalg.LinAlgError: If the map squeezes the image to a line.
        """
        return Geometry(np.asarray(np.linalg.inv(_square(self.matrix))[:2], np.float64))

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where points [..., 2], (x, y), of the image are in the view."""
        moved: NDArray[np.float64] = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    def boxes(self, boxes: NDArray[np.floating]) -> Boxes:
        """Return the upright boxes [N, 4] xyxy around the moved corners of boxes [N, 4].

        They are not cut to the view.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]]
        moved = self.points(corners.reshape(-1, 4, 2))
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)


def identity() -> Geometry:
    """Return the map that leaves an image as it is."""
    return Geometry(np.eye(2, 3))


def mirror(*, width_px: int) -> Geometry:
    """Return the map that turns an image of that width left to right."""
    return Geometry(np.array([[-1.0, 0.0, width_px], [0.0, 1.0, 0.0]]))


def turned(
    *,
    scale: float,
    rotation_degrees: float,
    centre: tuple[float, float],
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> Geometry:
    """Return the map that scales and turns an image about a point, then shifts it.

    Args:
        scale: Size of the view's content as a multiple of the image's, > 0.
        rotation_degrees: Clockwise, as the image is shown.
        centre: (x, y) of the point, pixels of the image.
        shift_px: (x, y) of the shift, pixels of the view.
    """
    angle = math.radians(rotation_degrees)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    offset = np.array(centre) + np.array(shift_px) - linear @ np.array(centre)
    return Geometry(np.concatenate([linear, offset[:, None]], axis=1))


def clipped(boxes: Boxes, *, width_px: int, height_px: int) -> Boxes:
    """Return boxes [N, 4] cut to an image of that size."""
    limits = np.array([width_px, height_px, width_px, height_px], np.float32)
    return np.clip(boxes.reshape(-1, 4), 0, limits)


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([matrix, [[0.0, 0.0, 1.0]]])
