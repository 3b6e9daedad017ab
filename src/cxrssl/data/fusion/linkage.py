"""Order-independent consensus: any order of rows or readers gives the same boxes, to the last bit.

Within a class of an image the two groups whose mean boxes overlap most are merged, again and again,
until no two means overlap by more than the threshold. Every drawn box weighs the same.

All groups of one size are worked on at once. Shapes: G groups of n marks each.

Source: average-linkage form of the merging in the paper's section II.A.
"""

from collections.abc import Iterator

import numpy as np

from cxrssl.core.boxes import iou_matrix
from cxrssl.data.fusion.marks import Floats, Fused, Integers, Marks, fused_from_clusters

# Of boxes that are compared at once; each takes some 100 bytes.
_MAX_PAIRS = 4_000_000


def fuse_by_linkage(marks: Marks, *, iou: float) -> Fused:
    """Merge the boxes that several readers drew.

    Args:
        marks: N boxes.
        iou: Overlap above which two groups are the same finding, in (0, 1).

    Returns:
        At most N boxes. Fusing them again changes nothing, since no two overlap enough.
    """
    groups = marks.class_groups()
    # Sorting first makes sums and ties, and so every digit, independent of the order of the input.
    order = np.lexsort((*marks.boxes.T[::-1], groups))
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    cluster_of_mark = np.zeros(len(marks), np.int64)
    boxes: list[Floats] = []
    num_boxes = 0
    for group_starts, size in _equal_groups(starts, sizes):
        rows = order[group_starts[:, None] + np.arange(size)]  # [G, n]
        means, owner = _merged(marks.boxes[rows], iou=iou)
        is_owner = owner == np.arange(size)
        number = np.where(is_owner, np.cumsum(is_owner).reshape(is_owner.shape) - 1, 0)
        cluster_of_mark[rows] = num_boxes + np.take_along_axis(number, owner, axis=1)
        boxes.append(means[is_owner])
        num_boxes += len(boxes[-1])
    return fused_from_clusters(marks, cluster_of_mark, np.concatenate([np.zeros((0, 4)), *boxes]))


def _equal_groups(starts: Integers, sizes: Integers) -> Iterator[tuple[Integers, int]]:
    """Yield where groups of one size begin, and the size; as many at a time as memory has room."""
    for size in np.unique(sizes).tolist():
        same_size = starts[sizes == size]
        batch_size = max(1, _MAX_PAIRS // size**2)
        for first in range(0, len(same_size), batch_size):
            yield same_size[first : first + batch_size], size


def _merged(boxes: Floats, *, iou: float) -> tuple[Floats, Integers]:
    """Merge within each of G groups of boxes [G, n, 4], sorted by corner.

    Returns:
        Mean boxes [G, n, 4] and the owner [G, n] of each box: the first box of its cluster, where
        the cluster's mean stands.
    """
    num_groups, size = boxes.shape[:2]
    owner = np.tile(np.arange(size), (num_groups, 1))
    means = boxes.copy()
    upper = np.triu(np.ones((size, size), bool), k=1)
    active = np.arange(num_groups)
    while size > 1 and len(active):
        is_owner = owner[active] == np.arange(size)
        overlap = iou_matrix(means[active], means[active]) * (
            upper & is_owner[:, :, None] & is_owner[:, None, :]
        )
        best = overlap.reshape(len(active), -1).argmax(axis=1)
        first, second = best // size, best % size
        merges = overlap[np.arange(len(active)), first, second] > iou
        active, first, second = active[merges], first[merges], second[merges]
        owners = owner[active]
        owners[owners == second[:, None]] = np.repeat(
            first, (owners == second[:, None]).sum(axis=1)
        )
        owner[active] = owners
        members = owners == first[:, None]
        total = np.where(members[:, :, None], boxes[active], 0.0).sum(axis=1)
        means[active, first] = total / members.sum(axis=1)[:, None]
    return means, owner
