"""COCO's average precision and recall, by torchmetrics over faster-coco-eval.

Names follow `cxrssl eval --json`: AP is averaged over IoU 0.50:0.95, AP50 and AP75 at one IoU,
ARn is the recall at n detections an image, averaged over the same IoUs and over classes.
Source: pycocotools 2.0, cocoeval.py; a value that can't be computed is None.
"""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

_NAMES = {
    "AP": "map",
    "AP50": "map_50",
    "AP75": "map_75",
    "AP_small": "map_small",
    "AP_medium": "map_medium",
    "AP_large": "map_large",
    "AR1": "mar_1",
    "AR10": "mar_10",
    "AR100": "mar_100",
    "AR_small": "mar_small",
    "AR_medium": "mar_medium",
    "AR_large": "mar_large",
}
# Where the overlap is 0.5, all areas, and 100 detections stand in faster-coco-eval's arrays.
_IOU_50, _ALL_AREAS, _AT_100 = 0, 0, 2


class Detections(TypedDict):
    """Boxes [N, 4] xyxy, scores [N] in [0, 1] and labels [N] in 1..K of one image."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Truth(TypedDict):
    """Boxes [N, 4] xyxy and labels [N] in 1..K of one image."""

    boxes: Tensor
    labels: Tensor


class Scores(TypedDict):
    """All numbers: overall by name, and by class name."""

    metrics: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]


def coco_scores(
    detections: Sequence[Detections], truth: Sequence[Truth], *, classes: Sequence[str]
) -> Scores:
    """Score detections against truth, image by image in one order.

    Args:
        detections: One an image; boxes in the pixels of `truth`.
        truth: One an image.
        classes: Names of labels 1..K. A class without a true box has None, and does not count in
            the means.

    Returns:
        Values in [0, 1].
    """
    metric = MeanAveragePrecision(
        box_format="xyxy",
        class_metrics=True,
        extended_summary=True,
        backend="faster_coco_eval",
        # One process scores while others wait; the metric must not ask them for their share.
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    metric.update(list(detections), list(truth))
    found = metric.compute()
    seen = [int(label) for label in found["classes"].reshape(-1)]
    by_label = {
        label: {
            "AP": _value(found["map_per_class"].reshape(-1)[place]),
            "AP50": _mean_precision(found["precision"][_IOU_50, :, place, _ALL_AREAS, _AT_100]),
            "AR100": _value(found["mar_100_per_class"].reshape(-1)[place]),
        }
        for place, label in enumerate(seen)
    }
    nothing: dict[str, float | None] = {"AP": None, "AP50": None, "AR100": None}
    return Scores(
        metrics={name: _value(found[key]) for name, key in _NAMES.items()},
        per_class={name: by_label.get(k, nothing) for k, name in enumerate(classes, start=1)},
    )


def _mean_precision(precision: Tensor) -> float | None:
    """Average the 101 precisions of a class; -1 marks a class without truth."""
    return None if bool((precision < 0).all()) else float(precision.clamp(min=0).mean())


def _value(value: Tensor) -> float | None:
    number = float(torch.as_tensor(value))
    return None if number < 0 else number
