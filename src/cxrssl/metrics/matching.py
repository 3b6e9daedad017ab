"""The match table: which detection found which true box, under every rule, computed once.

COCO's rule has the detections of an image choose in turn, the strongest first, each the true box it
overlaps most among those still free. Here all images take their turn together, first everybody's
first detection that overlaps anything, then the second, for all thresholds at once; that gives the
same matches, and takes as many steps as the busiest image has such detections.

PASCAL VOC's rule has each detection belong to the box it overlaps most, free or not; the strongest
one of a box found it, and the others are false alarms. Under both rules a crowd is what is left: a
detection that overlaps a box that counts is never given to a crowd.

Sources: pycocotools 2.0, cocoeval.py, `evaluateImg`; VOC 2010 development kit, `VOCevaldet.m`.

Shapes: D detections, G true boxes, R rules, S parts, E matches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrssl.metrics.annotations import Detections, Flags, Floats, Integers, Truth, overlaps

_BLOCK_PAIRS = 1_000_000
"""Pairs of boxes held at once, so that memory does not grow with the number of images."""


@dataclass(frozen=True)
class Rules:
    """R ways to match, on S parts of the true boxes.

    Attributes:
        ious: [R] overlap from which a detection may match.
        is_voc: [R] whether VOC's rule holds, rather than COCO's.
        part: [R] number of the part that is to be found.
        ignored: [S, G] true boxes outside a part: a detection on one counts neither way.
        areas_px2: [S, 2] least and greatest area of detections that count as false alarms in a
            part where they match nothing, both inclusive.
    """

    ious: Floats
    is_voc: Flags
    part: Integers
    ignored: Flags
    areas_px2: Floats


@dataclass(frozen=True)
class Ranked:
    """Detections that take part, sorted by group, the strongest first.

    Detections of a group compete for its true boxes: a class in an image, or an image.

    Attributes:
        rows: [D] rows of the detections.
        rank: [D] position within the group, from 0.
        groups: [D] number of the group.
        by_score: [D] positions, the strongest of all first.
    """

    rows: Integers
    rank: Integers
    groups: Integers
    by_score: Integers


@dataclass(frozen=True)
class Matches:
    """Detections and the true boxes that they found, a row a match.

    Attributes:
        ranked: The detections that took part.
        detection: [E] position of the detection in `ranked`.
        rule: [E] number of the rule.
        is_true: [E] whether the true box counts, rather than being ignored.
        best_overlap: [G] greatest IoU of each true box with the detections of its group that take
            part, 0 if there is none.
    """

    ranked: Ranked
    detection: Integers
    rule: Integers
    is_true: Flags
    best_overlap: Floats


def match(
    truth: Truth, detections: Detections, rules: Rules, *, most: int, by_class: bool
) -> Matches:
    """Match detections to true boxes.

    Args:
        truth: True boxes of every image.
        detections: Detections on the same images.
        rules: Thresholds, and what counts.
        most: Number of the strongest detections of a group that take part.
        by_class: Whether a detection can only find a box of its class.

    Equal scores go class by class, then in the order of the detections. Of equal overlaps COCO's
    rule takes the last true box and VOC's the first, as their sources do.
    """
    width = truth.num_classes if by_class else 1
    label, label_true = (detections.labels, truth.labels) if by_class else (0, 0)
    ranked = _ranked(detections, detections.images * width + label, most=most)
    true_groups = truth.images * width + label_true
    order = _order_by_group(true_groups, truth.labels)
    true_groups = true_groups[order]
    first_true = np.searchsorted(true_groups, ranked.groups, side="left")
    counts = np.searchsorted(true_groups, ranked.groups, side="right") - first_true
    best_overlap = np.zeros(len(order))
    parts = [_MatchColumns(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))]
    for block in _blocks(counts, ranked.groups):
        detection = block.start + np.repeat(np.arange(block.stop - block.start), counts[block])
        num_before = np.cumsum(counts[block]) - counts[block]
        offset = np.arange(len(detection)) - np.repeat(num_before, counts[block])
        true_box = order[first_true[detection] + offset]
        iou = overlaps(
            detections.boxes[ranked.rows[detection]], truth.boxes[true_box], truth.crowd[true_box]
        )
        np.maximum.at(best_overlap, true_box, iou)
        near = iou >= rules.ious.min()
        if near.any():
            pairs = _Pairs(detection[near], true_box[near], iou[near])
            parts += _coco_matches(pairs, ranked.groups, truth.crowd, rules)
            parts += _voc_matches(pairs, rules)
    detection, rule, is_true = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Matches(ranked, detection, rule, is_true, best_overlap)


@dataclass(frozen=True)
class _Pairs:
    """Detections and true boxes of one group that overlap, by position of the detection."""

    detection: Integers
    true_box: Integers
    iou: Floats


class _MatchColumns(NamedTuple):
    """Matches of a block: detections, rules, and whether the true box counts."""

    detection: Integers
    rule: Integers
    is_true: Flags


def _order_by_group(groups: Integers, labels: Integers) -> Integers:
    """Sort by group; within one by class, as pycocotools puts classes together in an image."""
    order: Integers = np.argsort(narrow(labels), kind="stable")
    return order[np.argsort(narrow(groups[order]), kind="stable")]


def _ranked(detections: Detections, groups: Integers, *, most: int) -> Ranked:
    # pycocotools has the classes of an image one after another before it sorts by score.
    by_class = np.argsort(narrow(detections.labels), kind="stable")
    by_score = by_class[np.argsort(-detections.scores[by_class], kind="stable")]
    order = by_score[np.argsort(narrow(groups[by_score]), kind="stable")]
    rank = _rank_in_run(groups[order])
    takes_part = rank < most
    rows = order[takes_part]
    position = np.full(len(order), -1)
    position[rows] = np.arange(len(rows))
    strongest_first = position[by_score]
    return Ranked(rows, rank[takes_part], groups[rows], strongest_first[strongest_first >= 0])


def _blocks(counts: Integers, groups: Integers) -> Iterator[slice]:
    """Yield parts of the detections, of complete groups and about `_BLOCK_PAIRS` pairs each."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        last = int(np.searchsorted(ends, before + _BLOCK_PAIRS))
        group = groups[min(last, len(groups) - 1)]
        stop = int(np.searchsorted(groups, group, side="right"))
        yield slice(start, stop)
        start = stop


def _coco_matches(
    pairs: _Pairs, groups: Integers, crowd: Flags, rules: Rules
) -> Iterator[_MatchColumns]:
    """Yield the matches of one turn after another, under the rules that are COCO's."""
    numbers = np.flatnonzero(~rules.is_voc)
    # True boxes of the block, and the one of each pair among them, [P].
    true_boxes, box_of_pair = np.unique(pairs.true_box, return_inverse=True)
    free = np.ones((len(numbers), len(true_boxes)), bool)
    crowd = crowd[true_boxes]
    ignored = rules.ignored[np.ix_(rules.part[numbers], true_boxes)]
    # A detection exactly on its box must match at an overlap of 1 too.
    least = np.minimum(rules.ious[numbers], 1 - 1e-10)[:, None]
    turns = _turns(pairs.detection, groups)
    by_turn = np.argsort(turns, kind="stable")
    for rows in np.split(by_turn, np.flatnonzero(np.diff(turns[by_turn])) + 1):
        box, iou = box_of_pair[rows], pairs.iou[rows]
        is_first = _run_starts(pairs.detection[rows])
        first_pair, detection_of_pair = np.flatnonzero(is_first), np.cumsum(is_first) - 1
        can_match = (free[:, box] | crowd[box]) & (iou >= least)  # [R, P]
        can_match_true = can_match & ~ignored[:, box]
        has_true = np.logical_or.reduceat(can_match_true, first_pair, axis=1)  # [R, D]
        # A box that counts comes before an ignored one, whatever they overlap.
        can_match &= ~has_true[:, detection_of_pair] | can_match_true
        overlap = np.where(can_match, iou, -1.0)
        greatest = np.maximum.reduceat(overlap, first_pair, axis=1)
        is_greatest = can_match & (overlap == greatest[:, detection_of_pair])
        chosen_pair = np.maximum.reduceat(
            np.where(is_greatest, np.arange(len(rows)), -1), first_pair, axis=1
        )
        rule, detection = np.nonzero(chosen_pair >= 0)
        pair = chosen_pair[rule, detection]
        free[rule, box[pair]] = False
        yield _MatchColumns(pairs.detection[rows][pair], numbers[rule], has_true[rule, detection])


def _turns(detections: Integers, groups: Integers) -> Integers:
    """Return [P] the turn of each pair's detection: how many of its group go before it."""
    is_first = _run_starts(detections)
    turns: Integers = _rank_in_run(groups[detections[is_first]])[np.cumsum(is_first) - 1]
    return turns


def _rank_in_run(values: Integers) -> Integers:
    """Return how many equal values stand before each one, where equals stand together."""
    numbers = np.arange(len(values))
    ranks: Integers = numbers - np.maximum.accumulate(np.where(_run_starts(values), numbers, 0))
    return ranks


def _voc_matches(pairs: _Pairs, rules: Rules) -> Iterator[_MatchColumns]:
    """Yield the matches under the rules that are VOC's."""
    for rule in np.flatnonzero(rules.is_voc):
        near = pairs.iou >= rules.ious[rule]
        detection, true_box, iou = pairs.detection[near], pairs.true_box[near], pairs.iou[near]
        ignored = rules.ignored[rules.part[rule], true_box]
        by_overlap = np.lexsort((true_box, -iou, ignored, detection))
        nearest = by_overlap[_run_starts(detection[by_overlap])]
        detection, true_box = detection[nearest], true_box[nearest]
        # A box has one group, and positions within a group rise as scores fall.
        strongest = np.zeros(len(detection), bool)
        strongest[np.unique(true_box, return_index=True)[1]] = True
        ignored = ignored[nearest]
        is_true = strongest & ~ignored
        rows = is_true | ignored
        yield _MatchColumns(detection[rows], np.full(int(rows.sum()), rule), is_true[rows])


def narrow(values: Integers) -> NDArray[np.unsignedinteger[Any]]:
    """Return values >= 0 in the fewest bits: numpy sorts 16 and less by digits, which is faster."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _run_starts(values: Integers) -> Flags:
    """Return where a run of equal values begins."""
    begins = np.ones(len(values), bool)
    begins[1:] = values[1:] != values[:-1]
    return begins
