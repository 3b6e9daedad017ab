"""Curves behind the scores, and the thresholds that a user can choose from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxrssl.evaluate.kinds import Kind
from cxrssl.metrics.annotations import Flags, Floats
from cxrssl.metrics.calibration import NUM_BINS
from cxrssl.metrics.froc import RATES, Froc
from cxrssl.metrics.precision import RECALLS
from cxrssl.metrics.scores import ScoreTable

_CURVE_RATES = tuple(2.0 ** (step / 4) for step in range(-16, 17))
_IOU_50 = 0


def curves(
    table: ScoreTable, classes: tuple[str, ...], kinds: Mapping[Kind, Flags]
) -> dict[str, Any]:
    """Return precision and recall by class, the FROC curve and the reliability curve.

    Values where nothing is, such as the threshold of a recall that is not reached, are None.

    Args:
        table: Scores of the detections.
        classes: Names of the classes.
        kinds: [N] the images of each kind; what they have of false positives goes with the FROC.
    """
    ones = np.ones(table.truth.num_images)
    by_class = {
        classes[label]: {"precision": _plain(curve.precision), "score": _plain(curve.scores)}
        for label, curve in table.precision.curves(_IOU_50).items()
    }
    froc = table.froc(ones)
    return {
        "precision_recall": {"iou": 0.5, "recall": RECALLS.round(2).tolist(), "classes": by_class},
        "froc": {
            "fp_per_image": _plain(np.array(_CURVE_RATES)),
            "sensitivity": _plain(froc.sensitivity_at(_CURVE_RATES)),
            "fp_per_image_by_kind": {
                kind: _plain(_at_rates(table.froc.alarms_in(images), froc))
                for kind, images in kinds.items()
            },
        },
        "reliability": _reliability(table, ones),
    }


def operating_points(table: ScoreTable, kinds: Mapping[Kind, Flags]) -> list[dict[str, Any]]:
    """Return what each threshold gives: at most so many false alarms an image, and the best F1.

    They are chosen on the images they are measured on, so they flatter; those that are chosen on
    others come from `evaluate.operating_points`.
    """
    froc = table.froc(np.ones(table.truth.num_images))
    if not len(table.froc.scores) or not froc.num_true:
        return []
    by_kind = {kind: table.froc.alarms_in(images) for kind, images in kinds.items()}
    precision = table.froc.precision()
    total = precision + froc.sensitivity
    f1 = np.divide(2 * precision * froc.sensitivity, np.where(total > 0, total, 1.0))
    indices = {
        f"{rate:g} false positives an image": int(np.searchsorted(froc.alarms, rate, side="right"))
        - 1
        for rate in RATES
    }
    indices["greatest F1"] = int(np.argmax(f1))
    return [
        {"point": name, **_point(index, table.froc.scores, froc, precision, f1)}
        | {"fp_per_image_by_kind": {k: _plain(v[[index]])[0] for k, v in by_kind.items()}}
        for name, index in indices.items()
        if index >= 0
    ]


def _point(
    index: int, scores: Floats, froc: Froc, precision: Floats, f1: Floats
) -> dict[str, float | None]:
    columns = {
        "score_threshold": scores,
        "sensitivity": froc.sensitivity,
        "precision": precision,
        "f1": f1,
        "fp_per_image": froc.alarms,
        "fp_per_normal_image": froc.normal_alarms,
    }
    return {name: _plain(column[[index]])[0] for name, column in columns.items()}


def _at_rates(alarms: Floats, froc: Froc) -> Floats:
    """Return the false alarms an image of a kind where all images have those of the curve."""
    values: Floats = np.interp(_CURVE_RATES, np.append(0.0, froc.alarms), np.append(0.0, alarms))
    return values


def _reliability(table: ScoreTable, ones: Floats) -> list[dict[str, Any]] | None:
    if table.calibration is None:
        return None
    bins = table.calibration(ones)
    confidence, precision = _plain(bins.confidence), _plain(bins.precision)
    return [
        {
            "low": number / NUM_BINS,
            "high": (number + 1) / NUM_BINS,
            "detections": int(bins.count[number]),
            "confidence": confidence[number],
            "precision": precision[number],
        }
        for number in range(NUM_BINS)
    ]


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
