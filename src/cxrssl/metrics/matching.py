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
        nearest: [R] whether VOC's rule holds, rather than COCO's.
        part: [R] which of the parts is to be found.
        ignored: [S, G] true boxes outside a part: a detection on one counts neither way.
        areas_px2: [S, 2] least and greatest area of detections that count as false alarms in a
            part where they match nothing, both inclusive.
    """

    ious: Floats
    nearest: Flags
    part: Integers
    ignored: Flags
    areas_px2: Floats


@dataclass(frozen=True)
class Ranked:
    """Detections that take part, sorted by kind, the strongest first.

    A kind is what competes: a class in an image, or an image.

    Attributes:
        rows: [D] which rows of the detections.
        rank: [D] place within the kind, from 0.
        kinds: [D] the kind.
        by_score: [D] places, the strongest of all first.
    """

    rows: Integers
    rank: Integers
    kinds: Integers
    by_score: Integers


@dataclass(frozen=True)
class Matches:
    """Who found what, a row a match.

    Attributes:
        ranked: The detections that took part.
        place: [E] which of them.
        rule: [E] under which rule.
        is_true: [E] whether the true box counts, rather than being ignored.
        best_overlap: [G] of each true box with the detections of its kind that take part, 0 if
            there is none.
    """

    ranked: Ranked
    place: Integers
    rule: Integers
    is_true: Flags
    best_overlap: Floats


def match(truth: Truth, found: Detections, rules: Rules, *, most: int, by_class: bool) -> Matches:
    """Match detections to true boxes.

    Args:
        truth: Of every image.
        found: On the same images.
        rules: How.
        most: Strongest detections of a kind that take part.
        by_class: Whether a detection can only find a box of its class.

    Equal scores go class by class, then in the order of the detections. Of equal overlaps COCO's
    rule takes the last true box and VOC's the first, as their sources do.
    """
    width = truth.num_classes if by_class else 1
    label, label_true = (found.labels, truth.labels) if by_class else (0, 0)
    ranked = _ranked(found, found.images * width + label, most=most)
    kinds_true = truth.images * width + label_true
    order = _by_kind(kinds_true, truth.labels)
    kinds_true = kinds_true[order]
    starts = np.searchsorted(kinds_true, ranked.kinds, side="left")
    counts = np.searchsorted(kinds_true, ranked.kinds, side="right") - starts
    best = np.zeros(len(order))
    parts = [_Found(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))]
    for block in _blocks(counts, ranked.kinds):
        place = block.start + np.repeat(np.arange(block.stop - block.start), counts[block])
        before = np.cumsum(counts[block]) - counts[block]
        within = np.arange(len(place)) - np.repeat(before, counts[block])
        true = order[starts[place] + within]
        iou = overlaps(found.boxes[ranked.rows[place]], truth.boxes[true], truth.crowd[true])
        np.maximum.at(best, true, iou)
        near = iou >= rules.ious.min()
        if near.any():
            pairs = _Pairs(place[near], true[near], iou[near])
            parts += _in_turn(pairs, ranked.kinds, truth.crowd, rules)
            parts += _nearest(pairs, rules)
    place, rule, is_true = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Matches(ranked, place, rule, is_true, best)


@dataclass(frozen=True)
class _Pairs:
    """Detections and true boxes of one kind that overlap, by place of the detection."""

    place: Integers
    true: Integers
    iou: Floats


class _Found(NamedTuple):
    """Matches of a part: places, rules, and whether the true box counts."""

    place: Integers
    rule: Integers
    is_true: Flags


def _by_kind(kinds: Integers, labels: Integers) -> Integers:
    """Sort by kind; within one by class, as pycocotools puts classes together in an image."""
    order: Integers = np.argsort(narrow(labels), kind="stable")
    return order[np.argsort(narrow(kinds[order]), kind="stable")]


def _ranked(found: Detections, kinds: Integers, *, most: int) -> Ranked:
    # pycocotools has the classes of an image one after another before it sorts by score.
    by_class = np.argsort(narrow(found.labels), kind="stable")
    by_score = by_class[np.argsort(-found.scores[by_class], kind="stable")]
    order = by_score[np.argsort(narrow(kinds[by_score]), kind="stable")]
    rank = _within(kinds[order])
    kept = rank < most
    rows = order[kept]
    place = np.full(len(order), -1)
    place[rows] = np.arange(len(rows))
    strongest_first = place[by_score]
    return Ranked(rows, rank[kept], kinds[rows], strongest_first[strongest_first >= 0])


def _blocks(counts: Integers, kinds: Integers) -> Iterator[slice]:
    """Yield parts of the detections, whole kinds each, of about `_BLOCK_PAIRS` pairs."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        last = int(np.searchsorted(ends, before + _BLOCK_PAIRS))
        kind = kinds[min(last, len(kinds) - 1)]
        stop = int(np.searchsorted(kinds, kind, side="right"))
        yield slice(start, stop)
        start = stop


def _in_turn(pairs: _Pairs, kinds: Integers, crowd: Flags, rules: Rules) -> Iterator[_Found]:
    """Yield the matches of one turn after another, under the rules that are COCO's."""
    numbers = np.flatnonzero(~rules.nearest)
    true_boxes, true = np.unique(pairs.true, return_inverse=True)  # [P] among those of the block
    free = np.ones((len(numbers), len(true_boxes)), bool)
    crowd = crowd[true_boxes]
    ignored = rules.ignored[np.ix_(rules.part[numbers], true_boxes)]
    # A detection exactly on its box must match at an overlap of 1 too.
    least = np.minimum(rules.ious[numbers], 1 - 1e-10)[:, None]
    turn = _turns(pairs.place, kinds)
    by_turn = np.argsort(turn, kind="stable")
    for rows in np.split(by_turn, np.flatnonzero(np.diff(turn[by_turn])) + 1):
        own, iou = true[rows], pairs.iou[rows]
        is_first = _begins(pairs.place[rows])
        starts, of_detection = np.flatnonzero(is_first), np.cumsum(is_first) - 1
        may = (free[:, own] | crowd[own]) & (iou >= least)  # [R, P]
        counts = may & ~ignored[:, own]
        has_true = np.logical_or.reduceat(counts, starts, axis=1)  # [R, D]
        # A box that counts comes before an ignored one, whatever they overlap.
        may &= ~has_true[:, of_detection] | counts
        overlap = np.where(may, iou, -1.0)
        top = np.maximum.reduceat(overlap, starts, axis=1)
        is_top = may & (overlap == top[:, of_detection])
        chosen = np.maximum.reduceat(np.where(is_top, np.arange(len(rows)), -1), starts, axis=1)
        rule, detection = np.nonzero(chosen >= 0)
        pair = chosen[rule, detection]
        free[rule, own[pair]] = False
        yield _Found(pairs.place[rows][pair], numbers[rule], has_true[rule, detection])


def _turns(place: Integers, kinds: Integers) -> Integers:
    """Return [P] when each pair's detection has its turn: how many of its kind go before it."""
    is_first = _begins(place)
    found: Integers = _within(kinds[place[is_first]])[np.cumsum(is_first) - 1]
    return found


def _within(values: Integers) -> Integers:
    """Return how many equal values stand before each one, where equals stand together."""
    numbers = np.arange(len(values))
    found: Integers = numbers - np.maximum.accumulate(np.where(_begins(values), numbers, 0))
    return found


def _nearest(pairs: _Pairs, rules: Rules) -> Iterator[_Found]:
    """Yield the matches under the rules that are VOC's."""
    for rule in np.flatnonzero(rules.nearest):
        near = pairs.iou >= rules.ious[rule]
        place, true, iou = pairs.place[near], pairs.true[near], pairs.iou[near]
        by_overlap = np.lexsort((true, -iou, rules.ignored[rules.part[rule], true], place))
        nearest = by_overlap[_begins(place[by_overlap])]
        place, true = place[nearest], true[nearest]
        # A box has one kind, and the places of a kind rise as scores fall.
        strongest = np.zeros(len(place), bool)
        strongest[np.unique(true, return_index=True)[1]] = True
        ignored = rules.ignored[rules.part[rule], true]
        is_true = strongest & ~ignored
        kept = is_true | ignored
        yield _Found(place[kept], np.full(int(kept.sum()), rule), is_true[kept])


def narrow(values: Integers) -> NDArray[np.unsignedinteger[Any]]:
    """Return values >= 0 in the fewest bits: numpy sorts 16 and less by digits, which is faster."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _begins(values: Integers) -> Flags:
    """Return where a run of equal values begins."""
    begins = np.ones(len(values), bool)
    begins[1:] = values[1:] != values[:-1]
    return begins
