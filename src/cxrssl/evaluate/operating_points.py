"""Thresholds chosen on one set of images for stated targets, and what they come to on another."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.evaluate.kinds import images_of
from cxrssl.metrics.annotations import Detections, Floats
from cxrssl.metrics.froc import FrocTable
from cxrssl.metrics.scores import ScoreTable

RATES = (0.25, 0.5, 1.0, 2.0)
"""False positives an image that points are chosen for."""
LEAST_BOXES = 5
"""Boxes of a class from which it gets a threshold of its own."""
_HALF_DIGIT = 5e-7
"""What is scored has six digits: a score that is rounded up to a threshold reaches it."""


def choose_points(inputs: EvaluationInputs, detections: Detections) -> list[dict[str, Any]]:
    """Choose thresholds for the greatest F1, of all and of each class, and for false positives.

    Args:
        inputs: The truth of the images that they are chosen on; it holds a box.
        detections: Detections there.

    Returns:
        `name`, `target` and `thresholds` by class of each point; none without detections. A rate
        that a single threshold passes at once has no point.
    """
    table = ScoreTable(inputs.truth, detections)
    froc = table.froc(np.ones(inputs.truth.num_images))
    scores = table.froc.scores
    if not len(scores):
        return []
    best = _best_f1(table.froc, froc.sensitivity)
    points = [_point("f1", "greatest F1, one threshold", dict.fromkeys(inputs.classes, best))]
    by_class, shared = _by_class(inputs, detections, best)
    few = f"; of {', '.join(shared)} that of all, for want of boxes" if shared else ""
    points.append(_point("f1_by_class", f"greatest F1 of each class{few}", by_class))
    for rate in RATES:
        index = int(np.searchsorted(froc.alarms, rate, side="right")) - 1
        if index >= 0:
            threshold = _below(scores, index)
            target = f"at most {rate:g} false positives an image, one threshold"
            points.append(_point(f"fp_{rate:g}", target, dict.fromkeys(inputs.classes, threshold)))
    return points


def _point(name: str, target: str, thresholds: Mapping[str, float]) -> dict[str, Any]:
    lowered = {
        label: round(max(0.0, score - _HALF_DIGIT), 7) for label, score in thresholds.items()
    }
    return {"name": name, "target": target, "thresholds": lowered}


def _best_f1(table: FrocTable, sensitivity: Floats) -> float:
    """Return a threshold of the greatest F1; of several, the highest."""
    precision = table.precision()
    total = precision + sensitivity
    f1 = np.divide(2 * precision * sensitivity, np.where(total > 0, total, 1.0))
    return _below(table.scores, int(np.argmax(f1)))


def _below(scores: Floats, index: int) -> float:
    """Return a threshold that a score reaches and the next lower one does not: midway.

    On the images it is chosen on that is the same as the score itself, and on others it errs less
    to one side.
    """
    if index + 1 < len(scores):
        return float(scores[index] + scores[index + 1]) / 2
    return float(scores[index])


def _by_class(
    inputs: EvaluationInputs, detections: Detections, shared: float
) -> tuple[dict[str, float], list[str]]:
    """Return a threshold a class, and the classes that have that of all."""
    truth, thresholds, without = inputs.truth, {}, []
    for label, name in enumerate(inputs.classes):
        one = truth.select(truth.labels == label)
        found = detections.select(detections.labels == label)
        if (~one.crowd).sum() < LEAST_BOXES or not len(found.scores):
            thresholds[name] = shared
            without.append(name)
            continue
        table = ScoreTable(one, found).froc
        sensitivity = table(np.ones(truth.num_images)).sensitivity
        thresholds[name] = _best_f1(table, sensitivity)
    return thresholds, without


def values_at(
    inputs: EvaluationInputs, detections: Detections, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """Return what thresholds come to: sensitivity, precision, F1, false positives an image.

    Args:
        inputs: The truth.
        detections: Detections on its images.
        thresholds: Least score of each class.
    """
    least = np.array([thresholds[name] for name in inputs.classes], np.float64)
    kept = detections.select(detections.scores >= least[detections.labels])
    table = ScoreTable(inputs.truth, kept).froc
    froc = table(np.ones(inputs.truth.num_images))
    nothing = not len(table.scores)
    sensitivity = 0.0 if nothing else float(froc.sensitivity[-1])
    precision = None if nothing else float(table.precision()[-1])
    total = sensitivity + (precision or 0.0)
    if not froc.num_true:
        sensitivity = np.nan
    return {
        "n_boxes_shown": len(kept.scores),
        "sensitivity": None if np.isnan(sensitivity) else round(sensitivity, 6),
        "precision": None if precision is None else round(precision, 6),
        "f1": None if np.isnan(sensitivity) else _ratio(2 * sensitivity * (precision or 0), total),
        "fp_per_image": 0.0 if nothing else round(float(froc.alarms[-1]), 6),
        "fp_per_image_by_kind": {
            kind: 0.0 if nothing else round(float(table.alarms_in(images)[-1]), 6)
            for kind, images in images_of(inputs.kinds).items()
        },
    }


def _ratio(value: float, total: float) -> float:
    return round(value / total, 6) if total > 0 else 0.0
