"""Consensus boxes: what several readers drew, as one set with the number of readers behind each.

Not the published weighted boxes fusion, which depends on the order of its input: here any order of
rows or readers gives the same boxes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.boxes import iou_matrix


@dataclass(frozen=True)
class Consensus:
    """Fused boxes of one image, sorted by class, then by corner.

    Attributes:
        boxes: [M, 4] xyxy, float64, pixels of the frame of the input.
        labels: [M] class ids as they came in.
        support: [M] distinct readers behind each box, >= 1.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    support: NDArray[np.int64]


def consensus(
    boxes: NDArray[np.floating],
    labels: NDArray[np.integer],
    readers: NDArray[np.str_],
    *,
    iou: float,
) -> Consensus:
    """Merge the boxes that several readers drew for one image.

    Within a class the two groups whose mean boxes overlap most are merged, again and again, until
    no two means overlap by more than `iou`. Every drawn box weighs the same; classes never mix.

    Args:
        boxes: [N, 4] xyxy.
        labels: [N] class ids.
        readers: [N] id of the reader who drew each box.
        iou: Overlap above which two groups are the same finding, in (0, 1).

    Returns:
        At most N boxes. Fusing them again changes nothing, since no two overlap enough.

    Source: average-linkage form of the merging in the paper's section II.A; equal weights.
    """
    found: list[tuple[NDArray[np.float64], int, int]] = []
    for label in np.unique(labels):
        own = labels == label
        for members in _groups(np.asarray(boxes, np.float64)[own], iou=iou):
            mean = np.asarray(boxes, np.float64)[own][members].mean(axis=0)
            found.append((mean, int(label), len(set(readers[own][members].tolist()))))
    found.sort(key=lambda item: (item[1], *item[0].tolist()))
    return Consensus(
        np.array([box for box, _, _ in found], dtype=np.float64).reshape(-1, 4),
        np.array([label for _, label, _ in found], dtype=np.int64),
        np.array([support for _, _, support in found], dtype=np.int64),
    )


def _groups(boxes: NDArray[np.float64], *, iou: float) -> list[list[int]]:
    """Return groups of rows of `boxes` [N, 4], all of one class."""
    # Sorting first makes sums and ties, and so every digit, independent of the order of the input.
    order = np.lexsort(boxes.T[::-1])
    groups = [[int(row)] for row in order]
    means = boxes[order].copy()
    while len(groups) > 1:
        overlap = np.triu(iou_matrix(means, means), k=1)
        first, second = divmod(int(overlap.argmax()), len(groups))
        if overlap[first, second] <= iou:
            break
        rank = {int(row): place for place, row in enumerate(order)}
        groups[first] = sorted(groups[first] + groups.pop(second), key=rank.__getitem__)
        means = np.delete(means, second, axis=0)
        means[first] = boxes[groups[first]].mean(axis=0)
    return groups
