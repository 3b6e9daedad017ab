"""Weighted boxes fusion as the paper's code ran it, for a whole table at once.

Equal to `ensemble_boxes.weighted_boxes_fusion` with every class a model of its own, all weights and
confidences 1; `tests/data/test_fusion.py` compares the two bit by bit. Its rules are kept, also the
odd ones: marks are visited last row first, each joins the cluster whose *running mean* it overlaps
most, so the order of rows decides, and means are summed in float32.

That library takes one image at a time, mark by mark. Here the r-th mark of every class of every
image is placed in one step, so the number of steps is that of the most crowded class.

Shapes: N marks sorted by image and class, G groups of them.

Source: arXiv 1910.13302, section 3; ensemble-boxes 1.0.9.
"""

from dataclasses import replace

import numpy as np

from cxrssl.core.boxes import iou_matrix
from cxrssl.data.fusion.marks import Floats, Fused, Integers, Marks, fused_from_clusters


def fuse_as_published(marks: Marks, *, iou: float) -> Fused:
    """Fuse marks as published.

    The published method knows no members, so `support` counts the readers who drew a box of the
    class that overlaps the fused box by more than `iou`.

    Args:
        marks: N boxes, in the order of their table.
        iou: Overlap above which a mark joins a cluster, in (0, 1).
    """
    if not len(marks):
        return fused_from_clusters(marks, np.zeros(0, np.int64), np.zeros((0, 4)))
    # ensemble-boxes wants coordinates in 0..1; a power of two as divisor changes no overlap.
    scale = 2.0 ** np.ceil(np.log2(max(1.0, float(marks.boxes.max()))))
    groups = marks.class_groups()
    order = np.lexsort((-np.arange(len(marks)), groups))
    sizes = np.bincount(groups)
    # As that library does; readers' tools let boxes begin a fraction of a pixel outside.
    normalised = np.clip(marks.boxes[order] / scale, 0, 1)
    slots, means = _placed(normalised, sizes, iou=iou)
    used_slots, cluster = np.unique(slots, return_inverse=True)
    cluster_of_mark = np.empty(len(marks), np.int64)
    cluster_of_mark[order] = cluster.reshape(-1)
    fused = fused_from_clusters(marks, cluster_of_mark, means[used_slots] * scale)
    return replace(fused, support=_overlapping_readers(fused, marks, groups, iou=iou))


def _placed(boxes: Floats, sizes: Integers, *, iou: float) -> tuple[Integers, Floats]:
    """Place marks into clusters, one mark of each group at a time.

    Args:
        boxes: [N, 4] in 0..1, group after group, each in the order of its visits.
        sizes: [G] marks of each group, >= 1.
        iou: Overlap above which a mark joins a cluster.

    Returns:
        [N] the slot of each mark's cluster, and [N, 4] the box in each slot. The c-th cluster of a
        group has the group's c-th row as its slot; the other slots are empty.
    """
    by_size = np.argsort(-sizes, kind="stable")
    group_starts, falling = (np.cumsum(sizes) - sizes)[by_size], -sizes[by_size]
    slots = np.empty(len(boxes), np.int64)
    means, totals = np.zeros_like(boxes), np.zeros(boxes.shape, np.float32)
    counts = np.zeros(len(boxes), np.int64)
    num_clusters = np.zeros(len(sizes), np.int64)
    for visit in range(int(sizes.max())):
        active = int(np.searchsorted(falling, -visit, side="left"))
        rows = group_starts[:active] + visit
        drawn = boxes[rows]
        target = group_starts[:active] + num_clusters[:active]
        if visit:
            group_slots = group_starts[:active, None] + np.arange(visit)
            overlap = iou_matrix(means[group_slots], drawn[:, None])[..., 0]
            overlap[counts[group_slots] == 0] = -1
            best = overlap.argmax(axis=1)
            joins = overlap[np.arange(active), best] > iou
            target = np.where(joins, group_starts[:active] + best, target)
        slots[rows] = target
        num_clusters[:active] += counts[target] == 0
        counts[target] += 1
        # Summed in float64 and kept in float32, as numpy adds a float64 row to a float32 one.
        totals[target] = totals[target].astype(np.float64) + drawn
        count = counts[target][:, None]
        mean = (totals[target].astype(np.float64) / count).astype(np.float32)
        means[target] = np.where(count == 1, drawn, mean)
    return slots, means


def _overlapping_readers(fused: Fused, marks: Marks, groups: Integers, *, iou: float) -> Integers:
    """Return [M] how many readers drew a box of the class over each fused box."""
    reader = np.unique(marks.readers, return_inverse=True)[1].reshape(-1)
    order, sizes = np.argsort(groups, kind="stable"), np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    group_of_box = np.empty(len(fused.boxes), np.int64)
    group_of_box[fused.box_of_mark] = groups
    # Every pair of a box and a mark of its class and image.
    num_pairs = sizes[group_of_box]
    box = np.repeat(np.arange(len(fused.boxes)), num_pairs)
    offset = np.arange(len(box)) - np.repeat(np.cumsum(num_pairs) - num_pairs, num_pairs)
    row = order[starts[group_of_box[box]] + offset]
    overlap = iou_matrix(fused.boxes[box][:, None], marks.boxes[row][:, None])[:, 0, 0]
    width = int(reader.max()) + 1
    votes = np.unique((box * width + reader[row])[overlap > iou])
    # A mean may overlap none of its members; it still has at least one reader.
    return np.maximum(np.bincount(votes // width, minlength=len(fused.boxes)), 1)
