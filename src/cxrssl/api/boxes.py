"""`cxrssl.fuse`: one set of boxes from the boxes of several readers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxrssl.api.arguments import checked_number, checked_texts
from cxrssl.core.errors import ArgumentError
from cxrssl.data.fusion import Marks, reader_array
from cxrssl.data.fusion import fuse as fuse_marks

# Areas of larger boxes can't be computed.
_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class FusedBoxes:
    """M boxes, sorted by image, then by class (as `fuse` or the store orders them), then by corner.

    Attributes:
        boxes: [M, 4] xyxy float64, in the unit of the input boxes.
        labels: M class names.
        support: [M] int64, readers behind each box, >= 1.
        images: [M] int64, number of the image of each box.
        box_of_mark: [N] int64, index of the fused box that each input box is part of, -1 for none.
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
        readers: N ids of the readers who drew the boxes.
        policy: `consensus` merges groups whose mean boxes overlap; `majority:K` keeps those of its
            boxes that K readers drew; `wbf` is weighted boxes fusion as the paper's code has it;
            `union` merges nothing; `single:READER` keeps what one reader drew.
        iou: Overlap above which boxes of one class are one finding, in (0, 1).
        images: N numbers >= 0, the image of each box; None if all boxes are in one image.

    Raises:
        CxrsslError: If `boxes` is not [N, 4], lengths differ, a box has no area, or there is no
            such policy.
    """
    corners = _checked_boxes(boxes)
    classes, ids = checked_texts("labels", labels), checked_texts("readers", readers)
    image_ids = _checked_images([0] * len(corners) if images is None else images)
    counts = {len(corners), len(classes), len(ids), len(image_ids)}
    if len(counts) > 1:
        raise ArgumentError(
            f"fuse got {len(corners)} boxes, {len(classes)} labels, {len(ids)} readers and "
            f"{len(image_ids)} images. Give one of each for every box."
        )
    names = sorted(set(classes))
    label_ids = {name: label_id for label_id, name in enumerate(names)}
    label_numbers = np.array([label_ids[name] for name in classes], np.int64)
    marks = Marks(corners, label_numbers, reader_array(ids), image_ids)
    return fused_boxes(marks, names, policy=policy, iou=iou)


def _checked_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return boxes as [N, 4] float64; an empty list gives N = 0.

    Raises:
        ArgumentError: If they are not numbers, or have another shape.
    """
    expected = "expected [N, 4] numbers: x_min, y_min, x_max, y_max of each box"
    try:
        corners = np.asarray(boxes, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"boxes are not an array of numbers ({error}); {expected}.") from error
    if corners.shape == (0,):
        return corners.reshape(0, 4)
    if np.ma.is_masked(boxes) or (np.abs(corners) > _LARGEST).any():
        raise ArgumentError(f"boxes have masked values, or some beyond {_LARGEST:g}; {expected}.")
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ArgumentError(f"boxes have shape {list(corners.shape)}; {expected}.")
    return corners


def _checked_images(images: Sequence[int]) -> NDArray[np.int64]:
    """Return the numbers of images as [N] int64.

    Raises:
        ArgumentError: If one is not an integer, or is negative, or they have another shape.
    """
    expected = "expected an integer >= 0 for each box, the number of its image"
    try:
        numbers = np.asarray(images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"images are not an array ({error}); {expected}.") from error
    if numbers.shape == (0,):
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        kind = f"of shape {list(numbers.shape)} and type {numbers.dtype}"
        raise ArgumentError(f"images are {kind}; {expected}.")
    for extreme in (int(numbers.min()), int(numbers.max())):
        if not 0 <= extreme < 2**63:
            raise ArgumentError(f"images has {extreme}; {expected}.")
    return numbers.astype(np.int64)


def fused_boxes(marks: Marks, names: Sequence[str], *, policy: str, iou: float) -> FusedBoxes:
    """Return the fused boxes of marks whose labels are indices into `names`.

    Raises:
        CxrsslError: See `fuse`.
    """
    overlap = checked_number("iou", iou, 0, 1)
    if overlap in (0, 1):
        raise ArgumentError(f"iou is {iou}; expected a number between 0 and 1.")
    if not isinstance(policy, str):
        raise ArgumentError(f"policy is {policy!r}; expected text, such as consensus.")
    fused = fuse_marks(marks, policy=policy, iou=overlap)
    labels = tuple(names[number] for number in fused.labels.tolist())
    return FusedBoxes(fused.boxes, labels, fused.support, fused.images, fused.box_of_mark)
