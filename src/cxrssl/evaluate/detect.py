"""Detections of a detector on the images of a store, distributed over processes."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from cxrssl.data.detection import Example
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.sampling import in_order
from cxrssl.data.store import Store
from cxrssl.metrics.annotations import Detections
from cxrssl.models.detector import Detector, detector_input
from cxrssl.run.processes import gather_round_robin
from cxrssl.run.progress import progress

BATCH_SIZE = 8
"""Images at once on a GPU."""
_BOX_DECIMALS, _SCORE_DECIMALS = 2, 6
"""What `predictions.json` holds, and so what is scored: a file and its scores must agree."""


class ImageDetections(TypedDict):
    """Boxes [N, 4] xyxy, scores [N] in [0, 1] and labels [N] in 1..K of one image.

    Of a detector with an image-level gate, they are those after it.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    gate: "NotRequired[GateInput]"


class GateInput(TypedDict):
    """What an image-level gate was given of an image.

    `finding_probability` is its p in [0, 1]; the others are the detections before the gate.
    """

    finding_probability: float
    detections: ImageDetections


def batch_size_on(device: torch.device) -> int:
    """Return how many images a detector takes at once: several on a GPU, one on a CPU.

    Convolutions of a CPU may differ in their last bit with the size of a batch, and are no faster
    in one: ResNet-50 at 512 px takes 1.7 s an image alone and as one of four. One by one, no score
    depends on which images come together, and so not on the number of processes.
    """
    return 1 if device.type == "cpu" else BATCH_SIZE


def detect_in_turn(
    detector: Detector,
    store: Store,
    examples: Sequence[Example],
    *,
    rank: int,
    num_processes: int,
) -> list[ImageDetections]:
    """Return the detections on each example, once each; every process must call it."""
    local = detect(detector, store, examples[rank::num_processes])
    return gather_round_robin(local, num_processes=num_processes)


@torch.no_grad()
def detect(detector: Detector, store: Store, examples: Sequence[Example]) -> list[ImageDetections]:
    """Return a detector's detections, image by image, in store pixels, on the CPU.

    Its model stays on its device, and is left training or not, as it was.
    """
    model = detector.model
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    images = DetectionImages(store, examples, detector.intensity, flip_probability=0.0, seed=0)
    batches = in_order(len(examples), batch_size_on(device))
    detections: list[ImageDetections] = []
    total = len(examples)
    with progress("detect", total=total, unit="images", shown=total > 1000) as meter:
        for pixels, _ in detection_loader(images, batches, num_workers=0):
            for result in model(detector_input([image.to(device) for image in pixels])):
                detections.append(_on_cpu(result))
            meter.at(len(detections))
    model.train(was_training)
    return detections


def _on_cpu(result: Mapping[str, Tensor]) -> ImageDetections:
    """Return what a detector gives for an image, on the CPU."""
    detections = _named(result, "")
    if "finding_probability" in result:
        probability = float(result["finding_probability"])
        before = _named(result, "ungated_")
        detections["gate"] = GateInput(finding_probability=probability, detections=before)
    return detections


def _named(result: Mapping[str, Tensor], prefix: str) -> ImageDetections:
    return ImageDetections(
        boxes=result[f"{prefix}boxes"].cpu(),
        scores=result[f"{prefix}scores"].cpu(),
        labels=result[f"{prefix}labels"].cpu(),
    )


def detections_of(detections: Sequence[ImageDetections]) -> Detections:
    """Return detections, one entry an image, as columns, to the digits that are written."""
    counts = [len(image["labels"]) for image in detections]
    nothing = ImageDetections(
        boxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.int64)
    )
    all_of = [*detections, nothing]
    boxes = torch.cat([image["boxes"] for image in all_of]).double().numpy()
    scores = torch.cat([image["scores"] for image in all_of]).double().numpy()
    labels = torch.cat([image["labels"] for image in all_of]).numpy().astype(np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return Detections(
        np.repeat(np.arange(len(detections)), counts),
        labels - 1,
        np.round(xywh, _BOX_DECIMALS),
        np.round(scores, _SCORE_DECIMALS),
    )
