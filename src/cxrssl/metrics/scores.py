"""Every score of a detector from one match table, for any weights of the images.

Shapes: N images, K classes.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Floats, Integers, Truth
from cxrssl.metrics.calibration import CalibrationTable
from cxrssl.metrics.definitions import DEFINITIONS, PER_CLASS_DEFINITIONS
from cxrssl.metrics.froc import RATES, FrocTable
from cxrssl.metrics.matching import Rules, match
from cxrssl.metrics.precision import PrecisionTable

IOUS = np.linspace(0.5, 0.95, 10)
"""Source: pycocotools 2.0, cocoeval.py, `setDetParams`; so are the areas, but that 1e10 px^2, which
ends them there, is no end here."""
_AREAS_PX2 = np.array([[0, np.inf], [0, 32**2], [32**2, 96**2], [96**2, np.inf]])
_SIZES = ("small", "medium", "large")
ABOVE_40 = float(np.nextafter(0.4, 1))
"""The least overlap that is more than 0.4."""
_MOST, _MOST_SMALL = 100, 1000
_SENSITIVITY = 0.5
_FREQUENCY_ENDS = {"rare": (1, 10), "common": (11, 100), "frequent": (101, np.inf)}

# Numbers of the rules: ten thresholds for all boxes and each size, 0.4 by COCO and by VOC, then 0.5
# by support.
_ALL, _COCO_40, _VOC_40, _SUPPORT = slice(0, 10), 40, 41, 42


@dataclass(frozen=True)
class Scores:
    """Values by name, nan for what can't be computed.

    Attributes:
        overall: One a name of `DEFINITIONS`.
        per_class: [K] each, by name of `PER_CLASS_DEFINITIONS`.
    """

    overall: dict[str, float]
    per_class: dict[str, Floats]


class ScoreTable:
    """Detections matched with the truth, ready to be weighed.

    Attributes:
        truth: What is to be found.
        num_detections: How many there are.
        precision: Behind the precision-recall curves.
        froc: Behind sensitivity and false alarms.
        calibration: Behind the reliability curve; None if a score is outside [0, 1].
        best_overlap: Of each true box with a detection of its class, 0 if there is none.
        best_overlap_any_class: Likewise with a detection of any class.
    """

    def __init__(self, truth: Truth, found: Detections) -> None:
        """Match, once by class and once whatever the class."""
        self.truth, self.num_detections = truth, len(found.scores)
        rules = _rules_of(truth)
        matches = match(truth, found, rules, most=_MOST, by_class=True)
        self.precision = PrecisionTable(truth, found, matches, rules)
        self.froc = FrocTable(truth, found, matches, rule=_COCO_40)
        in_unit = not len(found.scores) or (found.scores.min() >= 0 and found.scores.max() <= 1)
        self.calibration = (
            CalibrationTable(truth.num_images, found, matches, rule=_COCO_40) if in_unit else None
        )
        self.best_overlap = matches.best_overlap
        rank = matches.ranked.rank[matches.place]
        images = found.images[matches.ranked.rows[matches.place]]
        labels = found.labels[matches.ranked.rows[matches.place]]
        cell = images * truth.num_classes + labels
        of_all = matches.is_true & (matches.rule < _ALL.stop)
        # Recalls at few detections need no order, only how many boxes each image has found.
        self._found_at = {
            most: np.bincount(
                cell[of_all & (rank < most)], minlength=truth.num_images * truth.num_classes
            ).reshape(truth.num_images, -1)
            for most in (1, 10)
        }
        self._agnostic, self.best_overlap_any_class = _agnostic(truth, found)
        held = truth.holds.sum(axis=0)
        self._frequency = {
            name: (held >= low) & (held <= high) for name, (low, high) in _FREQUENCY_ENDS.items()
        }

    def __call__(self, weights: Floats) -> Scores:
        """Return every score where image n counts `weights[n]` times."""
        found = self.precision(weights)
        wanted = self.precision.num_true(weights)[0]
        average = found.sampled[_ALL].mean(axis=0)  # [K]
        overall = {
            "AP": _mean(average),
            "AP50": _mean(found.sampled[0]),
            "AP75": _mean(found.sampled[5]),
            "AP40": _mean(found.sampled[_COCO_40]),
            "AP40_voc": _mean(found.area[_VOC_40]),
        }
        for place, size in enumerate(_SIZES, start=1):
            own = slice(10 * place, 10 * place + 10)
            overall[f"AP_{size}"] = _mean(found.sampled[own].mean(axis=0))
            overall[f"AR_{size}"] = _mean(found.recall[own].mean(axis=0))
        for name, classes in self._frequency.items():
            overall[f"AP_{name}"] = _mean(average[classes])
        for k in (1, 2, 3):
            overall[f"AP50_support_{k}"] = _mean(found.sampled[_SUPPORT + k - 1])
        recall = found.recall[_ALL].mean(axis=0)
        for most, sums in self._found_at.items():
            overall[f"AR{most}"] = _mean(_ratio(weights @ sums, len(IOUS) * wanted))
        overall["AR100"] = _mean(recall)
        for name, (hits, boxes) in self._agnostic.items():
            overall[name] = float(_ratio(weights @ hits, len(IOUS) * (weights @ boxes)))
        overall |= self._froc(weights) | self._overlap(weights)
        overall["ece"] = self.calibration(weights).ece if self.calibration else np.nan
        per_class = {
            "AP": average,
            "AP50": found.sampled[0],
            "AP75": found.sampled[5],
            "AP40": found.sampled[_COCO_40],
            "AP40_voc": found.area[_VOC_40],
            "AR100": recall,
        }
        return Scores(
            {name: overall[name] for name in DEFINITIONS},
            {name: per_class[name] for name in PER_CLASS_DEFINITIONS},
        )

    def _froc(self, weights: Floats) -> dict[str, float]:
        curve = self.froc(weights)
        values = curve.sensitivity_at()
        found = {f"froc_at_{rate:g}": float(v) for rate, v in zip(RATES, values, strict=True)}
        found["froc_mean"] = float(values.mean())
        name = f"fp_per_normal_image_at_sens_{_SENSITIVITY}"
        return found | {name: curve.normal_alarms_at(_SENSITIVITY)}

    def _overlap(self, weights: Floats) -> dict[str, float]:
        drawn = np.where(self.truth.crowd, 0.0, weights[self.truth.images])
        found = {}
        for name, own in (("", drawn), ("_above_0.2", drawn * (self.best_overlap > 0.2))):
            total = own.sum()
            mean = float(_ratio(own @ self.best_overlap, total))
            square = float(_ratio(own @ self.best_overlap**2, total))
            found[f"best_iou{name}_mean"] = mean
            found[f"best_iou{name}_std"] = float(np.sqrt(max(square - mean**2, 0.0)))
        return found


def _rules_of(truth: Truth) -> Rules:
    by_area = [(truth.areas < low) | (truth.areas > high) for low, high in _AREAS_PX2]
    by_support = [truth.support != 1, truth.support != 2, truth.support < 3]
    return Rules(
        ious=np.concatenate([*[IOUS] * 4, [ABOVE_40] * 2, [0.5] * 3]),
        nearest=np.arange(45) == _VOC_40,
        part=np.array([*np.repeat(range(4), 10), 0, 0, 4, 5, 6]),
        ignored=np.stack([*by_area, *by_support]) | truth.crowd,
        areas_px2=np.concatenate([_AREAS_PX2, *[_AREAS_PX2[:1]] * 3]),
    )


def _agnostic(
    truth: Truth, found: Detections
) -> tuple[dict[str, tuple[Integers, Integers]], Floats]:
    """Match whatever the class.

    Returns:
        [N] boxes found over all thresholds, and [N] boxes to find, by name of a recall; and the
        greatest overlap of each true box.
    """
    small = (truth.areas > _AREAS_PX2[1, 1]) | truth.crowd
    rules = Rules(
        ious=np.concatenate([IOUS, IOUS]),
        nearest=np.zeros(20, bool),
        part=np.repeat([0, 1], 10),
        ignored=np.stack([truth.crowd, small]),
        areas_px2=_AREAS_PX2[:2],
    )
    matches = match(truth, found, rules, most=_MOST_SMALL, by_class=False)
    rank = matches.ranked.rank[matches.place]
    images = found.images[matches.ranked.rows[matches.place]]
    sides = {
        "AR100_agnostic": (matches.rule < 10) & (rank < _MOST),
        "AR_small1000_agnostic": matches.rule >= 10,
    }
    recalls = {
        name: (
            np.bincount(images[own & matches.is_true], minlength=truth.num_images),
            np.bincount(truth.images[~ignored], minlength=truth.num_images),
        )
        for (name, own), ignored in zip(sides.items(), rules.ignored, strict=True)
    }
    return recalls, matches.best_overlap


def _mean(values: Floats) -> float:
    """Return the mean over classes that have true boxes."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else np.nan


def _ratio(values: Floats, totals: Floats | float) -> Floats:
    return np.divide(values, np.where(np.asarray(totals) > 0, totals, np.nan))
