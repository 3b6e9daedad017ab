"""Agreement of two sets of boxes, such as those of two readers.

Not for scoring a detector with confidences: that is `metrics.scores`.

Shapes: two sides of N and M boxes, xyxy in pixels of their images; P pairs of boxes of one group. A
group is a number that two boxes share if they may be compared: the same class in the same image.

All numbers here are symmetric: swapping the sides changes none of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Every two boxes of one group, one of each side, the greatest overlap first.

    Equal overlaps stand in an order that the boxes alone decide, not their rows or sides.

    Attributes:
        first: [P] rows of the first side's boxes.
        second: [P] rows of the second side's boxes.
        iou: [P] their overlaps, in [0, 1].
        num_first: Boxes of the first side, with or without a pair.
        num_second: Boxes of the second side.
    """

    first: Integers
    second: Integers
    iou: Floats
    num_first: int
    num_second: int


@dataclass(frozen=True)
class Overlap:
    """Mean and population standard deviation of `num_pairs` overlaps; None where there is none."""

    mean: float | None
    std: float | None
    num_pairs: int


def pairs_of(
    first: Floats, first_groups: Integers, second: Floats, second_groups: Integers
) -> Pairs:
    """Pair the boxes of two sides.

    Args:
        first: [N, 4] boxes of one side, each with an area.
        first_groups: [N] their groups.
        second: [M, 4] boxes of the other side.
        second_groups: [M] their groups, numbered as the first side's.
    """
    order = np.argsort(second_groups, kind="stable")
    sorted_groups = second_groups[order]
    first_in_group = np.searchsorted(sorted_groups, first_groups, side="left")
    counts = np.searchsorted(sorted_groups, first_groups, side="right") - first_in_group
    first_rows = np.repeat(np.arange(len(first)), counts)
    offset = np.arange(len(first_rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    second_rows = order[first_in_group[first_rows] + offset]
    overlaps = _overlaps(first[first_rows], second[second_rows])
    boxes = np.concatenate([first.reshape(-1, 4), second.reshape(-1, 4)])
    box_rank = np.unique(boxes, axis=0, return_inverse=True)[1].reshape(-1)
    ranks = np.sort(np.stack([box_rank[first_rows], box_rank[len(first) + second_rows]]), axis=0)
    order = np.lexsort((ranks[1], ranks[0], -overlaps))
    return Pairs(first_rows[order], second_rows[order], overlaps[order], len(first), len(second))


def mean_overlap(pairs: Pairs, *, above: float | None) -> Overlap:
    """Average the overlap over all pairs, or over those that overlap by more than `above`.

    Every pair counts, not a box's best: two readers who both drew the same two nodules make four
    pairs, two of them apart. Without a threshold such pairs pull the mean down; with one, findings
    that a reader missed or put elsewhere do not count at all, in either reading. `f1_at` has
    neither fault.

    Args:
        pairs: Pairs of boxes of two readers.
        above: Overlap that a pair must exceed to count; None for all pairs.

    Source: the paper, section IV and table II. Its row "R09 vs R10" holds the mean over all pairs
    of R8 and R9 (0.580, sigma 0.284), its row "R09 vs R11" that over pairs of R8 and R10 above 0.2
    (0.674, sigma 0.149); only this definition, with the population's deviation, gives both.
    """
    overlaps = pairs.iou if above is None else pairs.iou[pairs.iou > above]
    if not len(overlaps):
        return Overlap(None, None, 0)
    return Overlap(float(overlaps.mean()), float(overlaps.std()), len(overlaps))


def f1_at(pairs: Pairs, iou: float) -> float | None:
    """Return the F1 score of one side against the other, None where neither drew a box.

    Boxes are matched one to one, the greatest overlap first, whatever the class or image; boxes
    without a match count against the score, on whichever side they are.

    Args:
        pairs: Pairs of boxes of two readers.
        iou: Overlap from which a pair may be a match, in (0, 1].

    Source: 2 TP / (2 TP + FP + FN), with COCO's "at least" for the threshold.
    """
    total = pairs.num_first + pairs.num_second
    if not total:
        return None
    return 2 * len(matched(pairs, iou)) / total


def matched(pairs: Pairs, iou: float) -> list[int]:
    """Return the rows of the first side's boxes that have a match; see `f1_at`."""
    near = pairs.iou >= iou
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    for first, second in zip(pairs.first[near].tolist(), pairs.second[near].tolist(), strict=True):
        if first not in taken_first and second not in taken_second:
            taken_first.add(first)
            taken_second.add(second)
    return list(taken_first)


def _overlaps(first: Floats, second: Floats) -> Floats:
    """Return the overlap [P] of boxes [P, 4] with boxes [P, 4], row by row."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=1)
    area_first = (first[:, 2:] - first[:, :2]).prod(axis=1)
    area_second = (second[:, 2:] - second[:, :2]).prod(axis=1)
    iou: Floats = intersection / (area_first + area_second - intersection)
    return iou
