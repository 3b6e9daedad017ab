"""Average precision of every class under every rule, for any weights of the images.

A weight is how often an image was drawn; with all ones it is the score itself, and with the draws
of a bootstrap that of a replicate. Precision changes its envelope only where a true box is found,
so a replicate looks at matches, not at detections times rules.

Shapes: N images, D detections, R rules, K classes, E matches.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Floats, Integers, Truth
from cxrssl.metrics.matching import Matches, Rules, narrow

RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's recall thresholds. Source: pycocotools 2.0, cocoeval.py, `setDetParams`."""
_PADDED_RECALLS = np.append(RECALLS, np.inf)
_TINY, _SLACK = np.spacing(1.0), 1e-8


@dataclass(frozen=True)
class Precision:
    """[R, K] each; nan for a class without true boxes.

    Attributes:
        sampled: Mean of the envelope at 101 recalls, as COCO has it.
        area: Area under the envelope, as VOC 2010 has it.
        recall: Of all detections.
    """

    sampled: Floats
    area: Floats
    recall: Floats


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class under one rule, at the 101 `RECALLS`.

    Attributes:
        precision: Greatest at this recall or a greater one; 0 where it is not reached.
        scores: Threshold that reaches the recall; nan where none does.
    """

    precision: Floats
    scores: Floats


class PrecisionTable:
    """Matches in the order of each class's detections, ready to be weighed."""

    def __init__(self, truth: Truth, found: Detections, matches: Matches, rules: Rules) -> None:
        """Sort the matches, which must be by class and under these rules."""
        rows = matches.ranked.rows
        labels = found.labels[rows]
        order = matches.ranked.by_score
        order = order[np.argsort(narrow(labels[order]), kind="stable")]
        self._images, self._scores = found.images[rows][order], found.scores[rows][order]
        self._truth = truth
        self._rules = rules
        areas = found.boxes[rows, 2:].prod(axis=1)[order]
        ranges, range_of_part = np.unique(rules.areas_px2, axis=0, return_inverse=True)
        self._inside = [(areas >= low) & (areas <= high) for low, high in ranges]

        positions = np.empty(len(order), np.int64)
        positions[order] = np.arange(len(order))
        position = positions[matches.place]
        curve = matches.rule * truth.num_classes + labels[matches.place]
        by_curve = np.argsort(curve * len(order) + position)
        is_true = matches.is_true[by_curve]
        position, curve = position[by_curve], curve[by_curve]
        range_ = range_of_part.reshape(-1)[rules.part[matches.rule[by_curve]]]
        inside = np.zeros(len(position), bool)
        for number, own in enumerate(self._inside):
            inside |= (range_ == number) & own[position]
        self._position = position
        # A true one outside the range counts all the same, an ignored one inside does not.
        self._change = is_true.astype(np.float64) - inside
        # Running sums begin with a zero, before the first detection of the first class.
        first_of_class = np.searchsorted(labels[order], np.arange(truth.num_classes))
        lead = range_[is_true] * (len(order) + 1)
        self._sum_at = lead + position[is_true] + 1
        self._sum_from = lead + first_of_class[curve[is_true] % truth.num_classes]
        self._change_at = np.flatnonzero(is_true) + 1
        self._change_from = np.searchsorted(curve, curve[is_true])
        self._true, self._curve = position[is_true], curve[is_true]
        self._first = np.searchsorted(self._curve, self._curve)
        self._is_first = self._first == np.arange(len(self._curve))
        self._lift = 2.0 * (self._curve.max(initial=0) - self._curve)

    def __call__(self, weights: Floats) -> Precision:
        """Return precision and recall where image n counts `weights[n]` times, >= 0."""
        wanted = self.num_true(weights)
        recall, envelope = self._points(weights, wanted)
        before = np.where(self._is_first, 0.0, np.roll(recall, 1))
        # Sums of whole weights are exact, others are not, and a recall of 1 must stay one.
        slack = 0.0 if np.array_equal(weights, np.rint(weights)) else _SLACK
        reached = _num_reached(np.minimum(recall + slack, 1.0) if slack else recall)
        newly = reached - np.where(self._is_first, 0, np.roll(reached, 1))

        def by_curve(values: Floats) -> Floats:
            sums = np.bincount(self._curve, values, minlength=wanted.size).reshape(wanted.shape)
            return np.where(wanted > 0, sums, np.nan)

        return Precision(
            by_curve(newly * envelope) / len(RECALLS),
            by_curve((recall - before) * envelope),
            by_curve(recall - before),
        )

    def curves(self, rule: int) -> dict[int, Curve]:
        """Return precision and threshold at `RECALLS` of each class with true boxes, unweighed."""
        weights = np.ones(self._truth.num_images)
        wanted = self.num_true(weights)
        recall, envelope = self._points(weights, wanted)
        scores = self._scores[self._true]
        found = {}
        for label in np.flatnonzero(wanted[rule]).tolist():
            number = rule * self._truth.num_classes + label
            own = slice(*np.searchsorted(self._curve, [number, number + 1]))
            places = np.searchsorted(recall[own], RECALLS)
            found[label] = Curve(
                np.append(envelope[own], 0.0)[places], np.append(scores[own], np.nan)[places]
            )
        return found

    def _points(self, weights: Floats, wanted: Floats) -> tuple[Floats, Floats]:
        """Return recall and the envelope of precision at each true one, [E]."""
        drawn = weights[self._images]  # [D]
        sums = _running(drawn[self._true])
        found = sums[1:] - sums[self._first]  # true ones so far
        # What rounding leaves of nothing would have a precision of anything.
        found = np.where(found > _SLACK * weights.max(initial=0.0), found, 0.0)
        precision = found / np.maximum(self._counted(drawn), _TINY)
        # Lifted by curve, so that the running maximum from the right begins anew with each.
        envelope = np.maximum.accumulate((precision + self._lift)[::-1])[::-1] - self._lift
        # A class without true boxes in these images has no true ones either.
        return found / np.maximum(wanted.reshape(-1)[self._curve], _TINY), envelope

    def num_true(self, weights: Floats) -> Floats:
        """Return [R, K] how many true boxes are there to be found."""
        drawn = weights[self._truth.images]
        sums = [
            np.bincount(self._truth.labels, drawn * ~row, minlength=self._truth.num_classes)
            for row in self._rules.ignored
        ]
        found = np.stack(sums)[self._rules.part].astype(np.float64, copy=False)
        return found

    def _counted(self, drawn: Floats) -> Floats:
        """Return [E] detections up to each true one that are neither ignored nor outside."""
        sums = np.concatenate(
            [_running(drawn if own.all() else drawn * own) for own in self._inside]
        )
        changes = _running(drawn[self._position] * self._change)
        counted: Floats = sums[self._sum_at] - sums[self._sum_from]
        counted += changes[self._change_at] - changes[self._change_from]
        return counted


def _running(values: Floats) -> Floats:
    """Return the running sums of [N] values, and a zero before them."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _num_reached(recall: Floats) -> Integers:
    """Return how many of `RECALLS` each recall reaches, exactly as comparing would."""
    below: Integers = (recall * (len(RECALLS) - 1)).astype(np.int64)
    return below + (_PADDED_RECALLS[below] <= recall) + (_PADDED_RECALLS[below + 1] <= recall)
