"""`cxrssl eval`: a detector's scores on a split of a store, against the readers' consensus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cxrssl.core.errors import DataError
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.loaders import DetectionImages, detection_loader
from cxrssl.data.protocol import Split
from cxrssl.data.sampling import in_order
from cxrssl.data.store import Store
from cxrssl.metrics.coco import Detections, Truth, coco_scores
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.detector_folder import folder_of, load_detector
from cxrssl.run.memory import keep_freed_memory
from cxrssl.run.progress import progress

BATCH_SIZE = 8


def evaluate(
    checkpoint: Path,
    store_folder: Path,
    *,
    split: Split,
    fusion: str,
    consensus_iou: float,
    normals: bool,
) -> dict[str, Any]:
    """Score a detector folder, or the run that holds one, on a split of a store.

    The store is split by the protocol the detector was trained under, so that what it is tested on
    is what it never saw.

    Returns:
        The content of `--json`: metrics, per class, counts and definitions.

    Raises:
        DataError: If the detector or the store can't be used, or classes, size or fit differ.
    """
    folder = folder_of(checkpoint)
    detector = load_detector(folder)
    store = Store(store_folder)
    if store.classes != detector.classes:
        raise DataError(
            f"{folder} finds {', '.join(detector.classes)}; {store_folder} holds "
            f"{', '.join(store.classes)}. Evaluate on a store with the detector's classes."
        )
    own, given = detector.processor, store.manifest
    if (own.size_px, own.fit) != (given["size_px"], given["fit"]):
        raise DataError(
            f"{folder} was trained on images of {own.size_px} px, {own.fit}; {store_folder} holds "
            f"{given['size_px']} px, {given['fit']}. Ingest the images again as the detector needs."
        )
    splits = splits_of(store, protocol=detector.protocol, normals=normals)
    examples = in_split(examples_of(store, fusion=fusion, iou=consensus_iou), splits, split)
    if not torch.cuda.is_available():
        keep_freed_memory()
    detector.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return scores_of(detect(detector, store, examples), examples, classes=store.classes)


def scores_of(
    found: Sequence[Detections], examples: Sequence[Example], *, classes: Sequence[str]
) -> dict[str, Any]:
    """Score detections, one entry an example, against the readers' consensus."""
    truth = [
        Truth(boxes=torch.from_numpy(e.boxes), labels=torch.from_numpy(e.labels + 1))
        for e in examples
    ]
    scores = coco_scores(found, truth, classes=classes)
    return {
        "metrics": {name: {"value": value} for name, value in scores["metrics"].items()},
        "per_class": scores["per_class"],
        "n_images": len(examples),
        "n_boxes": sum(len(e.boxes) for e in examples),
        "n_classes": len(classes),
        "definitions": "COCO, boxes and areas in store pixels, truth is the readers' consensus",
    }


def as_coco(found: Sequence[Detections], examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return detections as COCO results: boxes xywh in store pixels, category ids 1..K."""
    return [
        {
            "image_id": example.image_id,
            "category_id": int(label),
            "bbox": [round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)],
            "score": round(float(value), 5),
        }
        for example, image in zip(examples, found, strict=True)
        for (x0, y0, x1, y1), label, value in zip(
            image["boxes"].tolist(), image["labels"], image["scores"], strict=True
        )
    ]


@torch.no_grad()
def detect(detector: Detector, store: Store, examples: Sequence[Example]) -> list[Detections]:
    """Return a detector's detections, image by image, in store pixels, on the CPU.

    Its model stays on its device, and is left training or not, as it was.
    """
    model = detector.model
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    images = DetectionImages(store, examples, detector.intensity, flip_probability=0.0, seed=0)
    batches = in_order(len(examples), BATCH_SIZE)
    found: list[Detections] = []
    with progress("detect", total=len(examples), shown=len(examples) > 1000) as meter:
        for pixels, _ in detection_loader(images, batches, num_workers=0):
            for result in model(detector_input([image.to(device) for image in pixels])):
                found.append(
                    Detections(
                        boxes=result["boxes"].cpu(),
                        scores=result["scores"].cpu(),
                        labels=result["labels"].cpu(),
                    )
                )
            meter.at(len(found))
    model.train(was_training)
    return found
