"""FROC: sensitivity against false alarms an image.

All classes are pooled, and every image counts, those without a finding too. COCO's average
precision forgives any number of false alarms that score less than what is right, and does not see
those of a class without true boxes.

Shapes: N images, D detections, U distinct scores.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Flags, Floats, Truth
from cxrssl.metrics.matching import Matches

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms an image. Source: LUNA16, arXiv 1612.08012, section 2.4."""

_DIGITS, _REACHED = 12, 1e-9


@dataclass(frozen=True)
class Froc:
    """Sensitivity and false alarms as the threshold falls through each distinct score, [U] each.

    Attributes:
        num_true: Number of true boxes; without any, sensitivity is nan.
        sensitivity: Fraction of the true boxes that are found, in [0, 1]; nan without true boxes.
        alarms: False alarms an image.
        normal_alarms: False alarms a normal image; nan if there is none.
    """

    num_true: float
    sensitivity: Floats
    alarms: Floats
    normal_alarms: Floats

    def sensitivity_at(self, rates: tuple[float, ...] = RATES) -> Floats:
        """Return the sensitivity at false alarms an image, straight between two thresholds.

        A detector that never makes so many has what it has with all its detections. nan without
        true boxes.

        Source: LUNA16, arXiv 1612.08012, section 2.4, whose score is the mean at `RATES`.
        """
        if not self.num_true:
            return np.full(len(rates), np.nan)
        alarms, sensitivities = np.append(0.0, self.alarms), np.append(0.0, self.sensitivity)
        values: Floats = np.interp(rates, alarms, sensitivities)
        return values

    def normal_alarms_at(self, sensitivity: float) -> float:
        """Return false alarms a normal image where `sensitivity` is first reached.

        nan if it never is, or no image is normal, or none has findings.
        """
        if not self.num_true:
            return np.nan
        index = int(np.searchsorted(self.sensitivity, sensitivity - _REACHED))
        return float(self.normal_alarms[index]) if index < len(self.normal_alarms) else np.nan


class FrocTable:
    """Detections of all classes, the strongest first, ready to be weighed.

    Attributes:
        scores: [U] distinct scores, falling.
    """

    def __init__(
        self,
        truth: Truth,
        detections: Detections,
        matches: Matches,
        *,
        rule: int,
        normal: Flags | None = None,
    ) -> None:
        """Sort detections matched by class; one is right that found a box under `rule`.

        Args:
            truth: True boxes.
            detections: Detections on the same images.
            matches: By class.
            rule: Number of the rule.
            normal: [N] which images are normal; None for those without true boxes.
        """
        ranked, of_rule = matches.ranked, matches.rule == rule
        is_right, is_wrong = np.zeros(len(ranked.rows), bool), np.ones(len(ranked.rows), bool)
        is_right[matches.detection[of_rule & matches.is_true]] = True
        is_wrong[matches.detection[of_rule]] = False
        rows = ranked.rows[ranked.by_score]
        self._images = detections.images[rows]
        self._right, self._wrong = is_right[ranked.by_score], is_wrong[ranked.by_score]
        self._normal = without_boxes(truth) if normal is None else normal
        self._wrong_normal = self._wrong & self._normal[self._images]
        scores = detections.scores[rows]
        self._last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
        self.scores = scores[self._last]
        self._true_images = truth.images[~truth.crowd]

    def __call__(self, weights: Floats) -> Froc:
        """Return the curve where image n counts `weights[n]` times."""
        drawn = weights[self._images]

        def cumulative(counted: np.ndarray) -> Floats:
            sums: Floats = np.cumsum(drawn * counted)[self._last]
            return sums

        num_true = float(weights[self._true_images].sum())
        return Froc(
            num_true,
            cumulative(self._right) / _or_nan(num_true),
            # With fractional weights, equal sums differ by rounding, and a rate that is just
            # reached must count as reached.
            np.round(cumulative(self._wrong) / weights.sum(), _DIGITS),
            cumulative(self._wrong_normal) / _or_nan(weights[self._normal].sum()),
        )

    def alarms_in(self, images: Flags) -> Floats:
        """Return [U] false alarms an image of those that [N] names, of which there is one."""
        sums: Floats = np.cumsum(self._wrong & images[self._images])[self._last] / images.sum()
        return sums

    def precision(self) -> Floats:
        """Return [U] the fraction of detections so far that are right."""
        right = np.cumsum(self._right)[self._last]
        precision: Floats = right / np.maximum(right + np.cumsum(self._wrong)[self._last], 1)
        return precision


def without_boxes(truth: Truth) -> Flags:
    """Return [N] which images hold no true box, crowds included."""
    has_none = np.ones(truth.num_images, bool)
    has_none[truth.images] = False
    return has_none


def _or_nan(total: float) -> float:
    return float(total) if total else np.nan
