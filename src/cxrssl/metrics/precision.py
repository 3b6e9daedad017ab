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
        recall: Recall of all detections.
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

    def __init__(
        self, truth: Truth, detections: Detections, matches: Matches, rules: Rules
    ) -> None:
        """Sort the matches, which must be by class and under these rules."""
        rows = matches.ranked.rows
        labels = detections.labels[rows]
        order = matches.ranked.by_score
        order = order[np.argsort(narrow(labels[order]), kind="stable")]
        self._images, self._scores = detections.images[rows][order], detections.scores[rows][order]
        self._truth = truth
        self._rules = rules
        areas = detections.boxes[rows, 2:].prod(axis=1)[order]
        ranges, range_of_part = np.unique(rules.areas_px2, axis=0, return_inverse=True)
        self._inside = [(areas >= low) & (areas <= high) for low, high in ranges]

        positions = np.empty(len(order), np.int64)
        positions[order] = np.arange(len(order))
        position = positions[matches.detection]
        curve = matches.rule * truth.num_classes + labels[matches.detection]
        by_curve = np.argsort(curve * len(order) + position)
        is_true = matches.is_true[by_curve]
        position, curve = position[by_curve], curve[by_curve]
        range_ = range_of_part.reshape(-1)[rules.part[matches.rule[by_curve]]]
        inside = np.zeros(len(position), bool)
        for number, is_inside in enumerate(self._inside):
            inside |= (range_ == number) & is_inside[position]
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
        num_true = self.num_true(weights)
        recall, envelope = self._points(weights, num_true)
        before = np.where(self._is_first, 0.0, np.roll(recall, 1))
        # Sums of integer weights are exact, others are not, and a recall of 1 must stay 1.
        slack = 0.0 if np.array_equal(weights, np.rint(weights)) else _SLACK
        reached = _num_reached(np.minimum(recall + slack, 1.0) if slack else recall)
        newly = reached - np.where(self._is_first, 0, np.roll(reached, 1))

        def by_curve(values: Floats) -> Floats:
            sums = np.bincount(self._curve, values, minlength=num_true.size).reshape(num_true.shape)
            return np.where(num_true > 0, sums, np.nan)

        return Precision(
            by_curve(newly * envelope) / len(RECALLS),
            by_curve((recall - before) * envelope),
            by_curve(recall - before),
        )

    def curves(self, rule: int) -> dict[int, Curve]:
        """Return precision and threshold at `RECALLS` of each class with true boxes, unweighed."""
        weights = np.ones(self._truth.num_images)
        num_true = self.num_true(weights)
        recall, envelope = self._points(weights, num_true)
        scores = self._scores[self._true]
        curves = {}
        for label in np.flatnonzero(num_true[rule]).tolist():
            number = rule * self._truth.num_classes + label
            rows = slice(*np.searchsorted(self._curve, [number, number + 1]))
            indices = np.searchsorted(recall[rows], RECALLS)
            curves[label] = Curve(
                np.append(envelope[rows], 0.0)[indices], np.append(scores[rows], np.nan)[indices]
            )
        return curves

    def _points(self, weights: Floats, num_true: Floats) -> tuple[Floats, Floats]:
        """Return recall and the envelope of precision at each true one, [E]."""
        drawn = weights[self._images]  # [D]
        sums = _running(drawn[self._true])
        num_found = sums[1:] - sums[self._first]  # true ones so far
        # What rounding leaves of nothing would have a precision of anything.
        num_found = np.where(num_found > _SLACK * weights.max(initial=0.0), num_found, 0.0)
        precision = num_found / np.maximum(self._counted(drawn), _TINY)
        # Lifted by curve, so that the running maximum from the right begins anew with each.
        envelope = np.maximum.accumulate((precision + self._lift)[::-1])[::-1] - self._lift
        # A class without true boxes in these images has no true ones either.
        return num_found / np.maximum(num_true.reshape(-1)[self._curve], _TINY), envelope

    def num_true(self, weights: Floats) -> Floats:
        """Return [R, K] the number of true boxes."""
        drawn = weights[self._truth.images]
        sums = [
            np.bincount(self._truth.labels, drawn * ~row, minlength=self._truth.num_classes)
            for row in self._rules.ignored
        ]
        return np.stack(sums)[self._rules.part].astype(np.float64, copy=False)

    def _counted(self, drawn: Floats) -> Floats:
        """Return [E] detections up to each true one that are neither ignored nor outside."""
        sums = np.concatenate(
            [_running(drawn if inside.all() else drawn * inside) for inside in self._inside]
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
