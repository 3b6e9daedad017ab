"""Box arithmetic in numpy.

Boxes are [N, 4] xyxy float pixels of the image they travel with, unless the name says otherwise.
"""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def iou_matrix(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return IoUs [..., N, M], in [0, 1], of `first` [..., N, 4] with `second` [..., M, 4]."""
    a = np.asarray(first, np.float64)[..., :, None, :]
    b = np.asarray(second, np.float64)[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(sides, 0, None), axis=-1)
    area_a = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = np.prod(b[..., 2:] - b[..., :2], axis=-1)
    union = area_a + area_b - shared
    overlap: NDArray[np.float64] = np.zeros_like(shared)
    np.divide(shared, union, out=overlap, where=union > 0)
    return overlap


def rescaled(
    boxes_original_px: NDArray[np.floating],
    *,
    x_scale: float,
    y_scale: float,
    x_offset_px: float = 0.0,
    y_offset_px: float = 0.0,
) -> Boxes:
    """Carry boxes [N, 4] from an image to its resampled copy, float32.

    Args:
        boxes_original_px: xyxy in the image.
        x_scale: Pixels of the copy per pixel of the image, along x.
        y_scale: The same along y.
        x_offset_px: x of the image's left edge in the copy.
        y_offset_px: y of the image's upper edge in the copy.
    """
    factors = np.array([x_scale, y_scale, x_scale, y_scale], dtype=np.float64)
    shift = np.array([x_offset_px, y_offset_px, x_offset_px, y_offset_px], dtype=np.float64)
    boxes = np.asarray(boxes_original_px, np.float64).reshape(-1, 4)
    return (boxes * factors + shift).astype(np.float32)


def flipped(boxes: Boxes, *, width_px: int) -> Boxes:
    """Mirror boxes [N, 4] left to right inside an image `width_px` wide; twice is the identity."""
    x_min, y_min, x_max, y_max = boxes.reshape(-1, 4).T
    return np.stack([width_px - x_max, y_min, width_px - x_min, y_max], axis=1).astype(np.float32)
