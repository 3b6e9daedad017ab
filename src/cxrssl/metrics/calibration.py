"""Calibration of scores: of detections scored 0.7, 70 % should be right.

Shapes: N images, B bins.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Floats
from cxrssl.metrics.matching import Matches

NUM_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """The detections by score, in equal bins of [0, 1], [B] each.

    Attributes:
        count: Detections in a bin; a score of 1 is in the last.
        confidence: Their mean score; nan for an empty bin.
        precision: The fraction of them that is right; nan for an empty bin.
    """

    count: Floats
    confidence: Floats
    precision: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]; nan without detections.

        The mean gap of score and precision over bins, weighed by their detections. Missed boxes do
        not count: it is about the scores of what was found.

        Sources: Guo et al. 2017, arXiv 1706.04599, equation 5; for detections Kueppers et al. 2020,
        arXiv 2004.13546, with scores alone.
        """
        total = self.count.sum()
        if not total:
            return np.nan
        gaps = np.abs(self.precision - self.confidence)
        return float((np.where(self.count > 0, gaps, 0.0) * self.count).sum() / total)


class CalibrationTable:
    """What each image adds to each bin."""

    def __init__(
        self, num_images: int, detections: Detections, matches: Matches, *, rule: int
    ) -> None:
        """Count; a detection is right that found a box under `rule`, and one on a crowd is ignored.

        Args:
            num_images: Number of images, N.
            detections: Detections with scores in [0, 1].
            matches: By class.
            rule: Number of the rule.
        """
        ranked, of_rule = matches.ranked, matches.rule == rule
        is_right, counts = np.zeros(len(ranked.rows), bool), np.ones(len(ranked.rows), bool)
        is_right[matches.detection[of_rule & matches.is_true]] = True
        counts[matches.detection[of_rule & ~matches.is_true]] = False
        rows = ranked.rows[counts]
        scores = detections.scores[rows]
        bins = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        cell = detections.images[rows] * NUM_BINS + bins

        def per_image(values: Floats) -> Floats:
            sums = np.bincount(cell, values, minlength=num_images * NUM_BINS)
            return sums.reshape(num_images, NUM_BINS).astype(np.float64, copy=False)

        self._sums = [per_image(v) for v in (np.ones(len(rows)), scores, 1.0 * is_right[counts])]

    def __call__(self, weights: Floats) -> Reliability:
        """Return the bins where image n counts `weights[n]` times."""
        count, score, right = (weights @ sums for sums in self._sums)
        count_or_nan = np.where(count > 0, count, np.nan)
        return Reliability(count, score / count_or_nan, right / count_or_nan)
