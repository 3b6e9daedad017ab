"""Every score of a detector from one match table, for any weights of the images.

Shapes: N images, K classes.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Flags, Floats, Integers, Truth
from cxrssl.metrics.calibration import CalibrationTable
from cxrssl.metrics.definitions import DEFINITIONS, PER_CLASS
from cxrssl.metrics.froc import RATES, FrocTable
from cxrssl.metrics.matching import Rules, match
from cxrssl.metrics.precision import PrecisionTable

IOUS = np.linspace(0.5, 0.95, 10)
"""Source: pycocotools 2.0, cocoeval.py, `setDetParams`; so are the areas, but for their upper
limit of 1e10 px^2, which is infinite here."""
AREAS_PX2 = np.array([[0, np.inf], [0, 32**2], [32**2, 96**2], [96**2, np.inf]])
SIZES = ("small", "medium", "large")
ABOVE_40 = float(np.nextafter(0.4, 1))
"""The least overlap that is more than 0.4."""
_MOST, _MOST_SMALL = 100, 1000
_SENSITIVITY = 0.5
FREQUENCY_ENDS = {"rare": (1, 10), "common": (11, 100), "frequent": (101, np.inf)}

# Numbers of the rules: ten thresholds for all boxes and each size, 0.4 by COCO and by VOC, then 0.5
# by support.
_ALL, _COCO_40, _VOC_40, _SUPPORT = slice(0, 10), 40, 41, 42


@dataclass(frozen=True)
class Scores:
    """Values by name, nan for what can't be computed.

    Attributes:
        overall: A value for each name of `DEFINITIONS`.
        per_class: [K] values for each name of `PER_CLASS`.
    """

    overall: dict[str, float]
    per_class: dict[str, Floats]


class ScoreTable:
    """Detections matched with the truth, ready to be weighed.

    Attributes:
        truth: The true boxes.
        num_detections: Number of detections.
        precision: Table behind the precision-recall curves.
        froc: Table behind sensitivity and false alarms.
        calibration: Table behind the reliability curve; None if a score is outside [0, 1].
        best_overlap: Greatest IoU of each true box with a detection of its class, 0 if none.
        best_overlap_any_class: Greatest IoU of each true box with a detection of any class.
    """

    def __init__(self, truth: Truth, detections: Detections, normal: Flags | None = None) -> None:
        """Match, once by class and once whatever the class.

        Args:
            truth: True boxes.
            detections: Detections on the same images.
            normal: [N] which images are normal; None for those without true boxes.
        """
        self.truth, self.num_detections = truth, len(detections.scores)
        rules = _rules_of(truth)
        matches = match(truth, detections, rules, most=_MOST, by_class=True)
        self.precision = PrecisionTable(truth, detections, matches, rules)
        self.froc = FrocTable(truth, detections, matches, rule=_COCO_40, normal=normal)
        self.calibration = None
        if ((detections.scores >= 0) & (detections.scores <= 1)).all():
            self.calibration = CalibrationTable(
                truth.num_images, detections, matches, rule=_COCO_40
            )
        self.best_overlap = matches.best_overlap
        rank = matches.ranked.rank[matches.detection]
        rows = matches.ranked.rows[matches.detection]
        cell = detections.images[rows] * truth.num_classes + detections.labels[rows]
        is_true = matches.is_true & (matches.rule < _ALL.stop)
        # Recalls at few detections need no order, only how many boxes each image has found.
        self._num_found_at = {
            most: np.bincount(
                cell[is_true & (rank < most)], minlength=truth.num_images * truth.num_classes
            ).reshape(truth.num_images, -1)
            for most in (1, 10)
        }
        self._agnostic, self.best_overlap_any_class = _agnostic(truth, detections)
        images_per_class = truth.holds.sum(axis=0)
        self._frequency = {
            name: (images_per_class >= low) & (images_per_class <= high)
            for name, (low, high) in FREQUENCY_ENDS.items()
        }

    def __call__(self, weights: Floats) -> Scores:
        """Return every score where image n counts `weights[n]` times."""
        precision = self.precision(weights)
        num_true = self.precision.num_true(weights)[0]
        average = precision.sampled[_ALL].mean(axis=0)  # [K]
        overall = {
            "AP": _mean(average),
            "AP50": _mean(precision.sampled[0]),
            "AP75": _mean(precision.sampled[5]),
            "AP40": _mean(precision.sampled[_COCO_40]),
            "AP40_voc": _mean(precision.area[_VOC_40]),
        }
        for size_index, size in enumerate(SIZES, start=1):
            rules = slice(10 * size_index, 10 * size_index + 10)
            overall[f"AP_{size}"] = _mean(precision.sampled[rules].mean(axis=0))
            overall[f"AR_{size}"] = _mean(precision.recall[rules].mean(axis=0))
        for name, classes in self._frequency.items():
            overall[f"AP_{name}"] = _mean(average[classes])
        for k in (1, 2, 3):
            overall[f"AP50_support_{k}"] = _mean(precision.sampled[_SUPPORT + k - 1])
        recall = precision.recall[_ALL].mean(axis=0)
        for most, sums in self._num_found_at.items():
            overall[f"AR{most}"] = _mean(_ratio(weights @ sums, len(IOUS) * num_true))
        overall["AR100"] = _mean(recall)
        for name, (hits, boxes) in self._agnostic.items():
            overall[name] = float(_ratio(weights @ hits, len(IOUS) * (weights @ boxes)))
        overall |= self._froc(weights) | self._overlap(weights)
        overall["ece"] = self.calibration(weights).ece if self.calibration else np.nan
        per_class = {
            "AP": average,
            "AP50": precision.sampled[0],
            "AP75": precision.sampled[5],
            "AP40": precision.sampled[_COCO_40],
            "AP40_voc": precision.area[_VOC_40],
            "AR100": recall,
        }
        return Scores(
            {name: overall[name] for name in DEFINITIONS},
            {name: per_class[name] for name in PER_CLASS},
        )

    def _froc(self, weights: Floats) -> dict[str, float]:
        curve = self.froc(weights)
        values = curve.sensitivity_at()
        scores = {f"froc_at_{rate:g}": float(v) for rate, v in zip(RATES, values, strict=True)}
        scores["froc_mean"] = float(values.mean())
        name = f"fp_per_normal_image_at_sens_{_SENSITIVITY}"
        return scores | {name: curve.normal_alarms_at(_SENSITIVITY)}

    def _overlap(self, weights: Floats) -> dict[str, float]:
        drawn = np.where(self.truth.crowd, 0.0, weights[self.truth.images])
        scores = {}
        for name, image_weights in (("", drawn), ("_above_0.2", drawn * (self.best_overlap > 0.2))):
            total = image_weights.sum()
            mean = float(_ratio(image_weights @ self.best_overlap, total))
            square = float(_ratio(image_weights @ self.best_overlap**2, total))
            scores[f"best_iou{name}_mean"] = mean
            scores[f"best_iou{name}_std"] = float(np.sqrt(max(square - mean**2, 0.0)))
        return scores


def _rules_of(truth: Truth) -> Rules:
    by_area = [(truth.areas < low) | (truth.areas > high) for low, high in AREAS_PX2]
    by_support = [truth.support != 1, truth.support != 2, truth.support < 3]
    return Rules(
        ious=np.concatenate([*[IOUS] * 4, [ABOVE_40] * 2, [0.5] * 3]),
        is_voc=np.arange(45) == _VOC_40,
        part=np.array([*np.repeat(range(4), 10), 0, 0, 4, 5, 6]),
        ignored=np.stack([*by_area, *by_support]) | truth.crowd,
        areas_px2=np.concatenate([AREAS_PX2, *[AREAS_PX2[:1]] * 3]),
    )


def _agnostic(
    truth: Truth, detections: Detections
) -> tuple[dict[str, tuple[Integers, Integers]], Floats]:
    """Match whatever the class.

    Returns:
        [N] boxes found over all thresholds, and [N] boxes to find, by name of a recall; and the
        greatest overlap of each true box.
    """
    small = (truth.areas > AREAS_PX2[1, 1]) | truth.crowd
    rules = Rules(
        ious=np.concatenate([IOUS, IOUS]),
        is_voc=np.zeros(20, bool),
        part=np.repeat([0, 1], 10),
        ignored=np.stack([truth.crowd, small]),
        areas_px2=AREAS_PX2[:2],
    )
    matches = match(truth, detections, rules, most=_MOST_SMALL, by_class=False)
    rank = matches.ranked.rank[matches.detection]
    images = detections.images[matches.ranked.rows[matches.detection]]
    counted = {
        "AR100_agnostic": (matches.rule < 10) & (rank < _MOST),
        "AR_small1000_agnostic": matches.rule >= 10,
    }
    recalls = {
        name: (
            np.bincount(images[is_counted & matches.is_true], minlength=truth.num_images),
            np.bincount(truth.images[~ignored], minlength=truth.num_images),
        )
        for (name, is_counted), ignored in zip(counted.items(), rules.ignored, strict=True)
    }
    return recalls, matches.best_overlap


def _mean(values: Floats) -> float:
    """Return the mean over classes that have true boxes."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else np.nan


def _ratio(values: Floats, totals: Floats | float) -> Floats:
    return np.divide(values, np.where(np.asarray(totals) > 0, totals, np.nan))
