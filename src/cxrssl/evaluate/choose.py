"""NMS and thresholds of a detector, chosen on a split that is not the one they are judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision.ops import batched_nms

from cxrssl.core.errors import DataError
from cxrssl.data.detection import Example
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, detect_in_turn
from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.evaluate.operating_points import choose_points, values_at
from cxrssl.evaluate.original import in_original_px
from cxrssl.evaluate.points_file import points_as_json
from cxrssl.metrics.annotations import Detections
from cxrssl.metrics.scores import ScoreTable
from cxrssl.models.detector import Detector

NMS_IOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CHOSEN_BY = "froc_mean"
MOST_CANDIDATES = 2000
"""Detections an image before NMS: the strongest; what follows would seldom be among those kept."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen.

    Attributes:
        split: The split that it was chosen on.
        images: Counts of that split, and a hash of its truth.
        nms: `iou`, the detector's own, and the score at each that was tried; None without NMS.
        points: `name`, `target`, `thresholds` and, as `chosen`, what they come to on the split.
    """

    split: Split
    images: Mapping[str, Any]
    nms: Mapping[str, Any] | None
    points: Sequence[Mapping[str, Any]]

    def content(
        self, detector: Mapping[str, str], inputs: EvaluationInputs, detections: Detections
    ) -> dict[str, Any]:
        """Return the content of the file of operating points.

        Args:
            detector: `source` and `sha256` of the detector.
            inputs: The images that are scored.
            detections: Detections there, with the NMS that was chosen.
        """
        points = [
            {**point, "scored": values_at(inputs, detections, point["thresholds"])}
            for point in self.points
        ]
        return points_as_json(detector, inputs.classes, self.nms, self.images, points)

    @property
    def note(self) -> str:
        """What was chosen and on what, in a sentence."""
        where = f"on the {self.images['n_images']} images of the {self.split} split"
        if self.nms is None:
            return f"thresholds were chosen {where}; the detector has no NMS"
        scores = {row["iou"]: row[CHOSEN_BY] for row in self.nms["tried"]}
        iou, own = self.nms["iou"], self.nms["detector_iou"]
        return (
            f"thresholds and NMS were chosen {where}: NMS IoU {iou:g} has {CHOSEN_BY} "
            f"{scores[iou]:.3f} there, the detector's own {own:g} has {scores[own]:.3f}; all "
            f"scores here are with {iou:g}"
        )


def choose(
    detector: Detector,
    store: Store,
    examples: Sequence[Example],
    inputs: EvaluationInputs,
    split: Split,
    *,
    rank: int,
    num_processes: int,
) -> Chosen:
    """Choose NMS and thresholds on a split, and leave the detector with that NMS.

    Every process must call it, and chooses the same.

    Args:
        detector: The detector, on its device.
        store: Store of the images.
        examples: The images of the split.
        inputs: Their truth.
        split: Name of the split.
        rank: Number of this process.
        num_processes: Number of processes that share the images.

    Raises:
        DataError: If the split holds no box, or nothing is detected in it.
    """
    if not (~inputs.truth.crowd).any():
        raise DataError(
            f"none of the {len(examples)} images of the {split} split of {store.folder} has a box, "
            "so that no operating point can be chosen on it. Take another split with --choose-on."
        )
    has_nms, most = detector.family.HAS_NMS, detector.config.detections_per_image
    if has_nms:
        detector.family.set_nms(detector.model, iou=1.0, most=MOST_CANDIDATES)
    candidates = detect_in_turn(detector, store, examples, rank=rank, num_processes=num_processes)
    nms, detections = None, in_original_px(candidates, examples, store)
    if has_nms:
        own = float(detector.config.nms_iou)
        tried = {
            iou: in_original_px(_thinned(candidates, iou=iou, most=most), examples, store)
            for iou in sorted({*NMS_IOUS, own})
        }
        nms = _best_nms(tried, inputs, own)
        detections = tried[nms["iou"]]
        detector.family.set_nms(detector.model, iou=nms["iou"], most=most)
    points = choose_points(inputs, detections)
    if not points:
        raise DataError(
            f"the detector finds nothing in the {len(examples)} images of the {split} split, so "
            "that no operating point can be chosen. Train it longer, or lower its score_threshold."
        )
    chosen = [
        {**point, "chosen": values_at(inputs, detections, point["thresholds"])} for point in points
    ]
    return Chosen(split, _images_as_json(store, inputs, split), nms, chosen)


def _images_as_json(store: Store, inputs: EvaluationInputs, split: Split) -> dict[str, Any]:
    truth = inputs.truth
    return {
        "split": split,
        "store_fingerprint": store.fingerprint,
        "n_images": truth.num_images,
        "n_images_with_boxes": int(truth.holds.any(axis=1).sum()),
        "n_boxes": int((~truth.crowd).sum()),
        "truth_sha256": inputs.sha256,
    }


def _thinned(
    candidates: Sequence[ImageDetections], *, iou: float, most: int
) -> list[ImageDetections]:
    """Return what NMS leaves of each image's detections, class by class, strongest first."""
    thinned = []
    for image in candidates:
        rows = batched_nms(image["boxes"], image["scores"], image["labels"], iou)[:most]
        thinned.append(
            ImageDetections(
                boxes=image["boxes"][rows],
                scores=image["scores"][rows],
                labels=image["labels"][rows],
            )
        )
    return thinned


def _best_nms(
    tried: Mapping[float, Detections], inputs: EvaluationInputs, own: float
) -> dict[str, Any]:
    """Return the overlap with the greatest score; of equal ones that nearest to the detector's."""
    ones = np.ones(inputs.truth.num_images)
    scores = {
        iou: round(float(ScoreTable(inputs.truth, detections)(ones).overall[CHOSEN_BY]), 6)
        for iou, detections in tried.items()
    }
    best = max(scores, key=lambda iou: (scores[iou], -abs(iou - own)))
    return {
        "iou": best,
        "detector_iou": own,
        "chosen_by": CHOSEN_BY,
        "most_candidates_an_image": MOST_CANDIDATES,
        "tried": [{"iou": iou, CHOSEN_BY: score} for iou, score in scores.items()],
    }
