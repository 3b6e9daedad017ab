"""What readers drew, and what becomes of it: the arrays that all ways of fusing share.

N marks of any number of images and classes, M boxes that come out of them. Boxes are xyxy float64
in the frame they came in; nothing here knows an image's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_BOXES_PER_CLASS = 1000
"""Boxes of one class in one image that are fused: each is compared with each other."""
_MAX_CHARACTERS = 200


@dataclass(frozen=True)
class Marks:
    """Boxes as drawn, in the order of their table.

    Attributes:
        boxes: [N, 4] xyxy, float64.
        labels: [N] class ids, >= 0.
        readers: [N] who drew each box.
        images: [N] number of the image that each box is in, >= 0.
    """

    boxes: Floats
    labels: Integers
    readers: NDArray[np.str_]
    images: Integers

    def __post_init__(self) -> None:
        """Check that boxes have an area: an overlap with nothing is not defined.

        Raises:
            DataError: If one has none, or holds something that is not a number.
        """
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        is_bad = ~(np.isfinite(self.boxes).all(axis=1) & (sides > 0).all(axis=1))
        if is_bad.any():
            box = ", ".join(f"{value:g}" for value in self.boxes[is_bad][0])
            raise DataError(
                f"{int(is_bad.sum())} box(es) without an area, the first ({box}); "
                "expected x_min < x_max and y_min < y_max. Leave their images out."
            )

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.boxes)

    def class_groups(self) -> Integers:
        """Return [N] a number a mark, equal for marks of one class in one image."""
        width = int(self.labels.max(initial=0)) + 1
        kind: Integers = np.unique(self.images * width + self.labels, return_inverse=True)[1]
        return kind.reshape(-1)

    def select(self, rows: NDArray[np.bool_]) -> "Marks":
        """Return some of the marks, in order."""
        return Marks(self.boxes[rows], self.labels[rows], self.readers[rows], self.images[rows])


@dataclass(frozen=True)
class Fused:
    """What the marks became, sorted by image, class, then corner.

    Attributes:
        boxes: [M, 4] xyxy, float64, in the frame of the marks.
        labels: [M] class ids.
        support: [M] distinct readers behind each box, >= 1.
        images: [M] number of the image that each box is in.
        box_of_mark: [N] row of the box that each mark is part of, -1 for marks left out.
    """

    boxes: Floats
    labels: Integers
    support: Integers
    images: Integers
    box_of_mark: Integers

    def with_support(self, min_readers: int) -> "Fused":
        """Return the boxes that at least `min_readers` readers drew."""
        is_kept = self.support >= min_readers
        # The last entry answers for marks that were out before: index -1.
        new_row = np.append(np.where(is_kept, np.cumsum(is_kept) - 1, -1), -1)
        return Fused(
            self.boxes[is_kept],
            self.labels[is_kept],
            self.support[is_kept],
            self.images[is_kept],
            new_row[self.box_of_mark],
        )


def fused_from_clusters(marks: Marks, cluster_of_mark: Integers, boxes: Floats) -> Fused:
    """Turn clusters into sorted boxes with their support.

    Args:
        marks: As drawn.
        cluster_of_mark: [N] in 0..M-1; no cluster mixes images or classes.
        boxes: [M, 4] the box of each cluster.
    """
    num_boxes = len(boxes)
    labels, images = np.zeros(num_boxes, np.int64), np.zeros(num_boxes, np.int64)
    labels[cluster_of_mark], images[cluster_of_mark] = marks.labels, marks.images
    reader = np.unique(marks.readers, return_inverse=True)[1].reshape(-1)
    width = int(reader.max(initial=0)) + 1
    votes = np.unique(cluster_of_mark * width + reader)
    support = np.bincount(votes // width, minlength=num_boxes).astype(np.int64)
    order = np.lexsort((*boxes.T[::-1], labels, images))
    new_row = np.empty(num_boxes, np.int64)
    new_row[order] = np.arange(num_boxes)
    return Fused(
        boxes[order], labels[order], support[order], images[order], new_row[cluster_of_mark]
    )


def crowded_images(images: Integers, labels: Integers) -> Integers:
    """Return the images with more boxes of one class than are fused.

    Args:
        images: [N] number of the image that each box is in, >= 0.
        labels: [N] class ids, >= 0.
    """
    width = int(labels.max(initial=0)) + 1
    kinds, counts = np.unique(images * width + labels, return_counts=True)
    crowded: Integers = np.unique(kinds[counts > MAX_BOXES_PER_CLASS] // width)
    return crowded


def reader_array(readers: Sequence[str]) -> NDArray[np.str_]:
    """Return ids of readers as an array, in which each takes the room of the longest.

    Raises:
        DataError: If one is out of all proportion, or has a NUL in it.
    """
    if any("\0" in reader for reader in readers):  # NumPy drops those at the end of a text
        raise DataError("a reader's id has a NUL character in it. Give that reader another one.")
    longest = max(map(len, readers), default=0)
    if longest > _MAX_CHARACTERS:
        raise DataError(
            f"a reader's id has {longest:,} characters; at most {_MAX_CHARACTERS} are taken. "
            "Give that reader a shorter one."
        )
    return np.array(readers, np.str_)
