"""`cxrssl.fuse`: one set of boxes out of what several readers drew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxrssl.core.errors import ArgumentError
from cxrssl.data.fusion import Marks, reader_array
from cxrssl.data.fusion import fuse as fuse_marks


@dataclass(frozen=True, eq=False)
class FusedBoxes:
    """M boxes, sorted by image, then by class (as `fuse` or the store orders them), then by corner.

    Attributes:
        boxes: [M, 4] xyxy float64, in the frame of the boxes that were given.
        labels: M class names.
        support: [M] int64, readers behind each box, >= 1.
        images: [M] int64, number of the image that each box is in.
        box_of_mark: [N] int64, which of the M boxes each given box is part of, -1 for none.
    """

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    support: NDArray[np.int64]
    images: NDArray[np.int64]
    box_of_mark: NDArray[np.int64]

    def __len__(self) -> int:
        """Return M."""
        return len(self.boxes)


def fuse(
    boxes: ArrayLike,
    labels: Sequence[str],
    readers: Sequence[str],
    *,
    policy: str = "consensus",
    iou: float = 0.2,
    images: Sequence[int] | None = None,
) -> FusedBoxes:
    """Fuse the boxes that several readers drew on an image, or on several.

    Args:
        boxes: [N, 4] xyxy in any unit, each with an area.
        labels: N class names; the result has classes in the order of their names.
        readers: N ids, who drew each box.
        policy: `consensus` merges groups whose mean boxes overlap; `majority:K` keeps those of its
            boxes that K readers drew; `wbf` is weighted boxes fusion as the paper's code has it;
            `union` merges nothing; `single:READER` keeps what one reader drew.
        iou: Overlap above which boxes of one class are one finding, in (0, 1).
        images: N numbers >= 0, the image of each box; None if all are of one.

    Raises:
        CxrsslError: If `boxes` is not [N, 4], lengths differ, a box has no area, or there is no
            such policy.
    """
    corners = _corners(boxes)
    numbers = np.zeros(len(corners), np.int64) if images is None else np.asarray(images, np.int64)
    counts = {len(corners), len(labels), len(readers), len(numbers)}
    if len(counts) > 1:
        raise ArgumentError(
            f"fuse got {len(corners)} boxes, {len(labels)} labels, {len(readers)} readers and "
            f"{len(numbers)} images. Give one of each for every box."
        )
    names = sorted(set(labels))
    number_of = {name: number for number, name in enumerate(names)}
    label_numbers = np.array([number_of[name] for name in labels], np.int64)
    marks = Marks(corners, label_numbers, reader_array(list(readers)), numbers)
    return fused_boxes(marks, names, policy=policy, iou=iou)


def _corners(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return boxes as [N, 4] float64; an empty list is no box.

    Raises:
        ArgumentError: If they are no numbers or have another shape.
    """
    expected = "expected [N, 4] numbers: x_min, y_min, x_max, y_max of each box"
    try:
        corners = np.asarray(boxes, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"boxes are no array of numbers ({error}); {expected}.") from error
    if corners.shape == (0,):
        return corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ArgumentError(f"boxes have shape {list(corners.shape)}; {expected}.")
    return corners


def fused_boxes(marks: Marks, names: Sequence[str], *, policy: str, iou: float) -> FusedBoxes:
    """Return the fused boxes of marks whose labels are places in `names`.

    Raises:
        CxrsslError: As `fuse` does.
    """
    if not 0 < iou < 1:
        raise ArgumentError(f"iou is {iou}; expected a number between 0 and 1.")
    fused = fuse_marks(marks, policy=policy, iou=iou)
    labels = tuple(names[number] for number in fused.labels.tolist())
    return FusedBoxes(fused.boxes, labels, fused.support, fused.images, fused.box_of_mark)
