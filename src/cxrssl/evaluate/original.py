"""Detections of a store's images in pixels of the original images, as they are scored and written.

A store is a square of any size; sizes of boxes, and published results, are those of the originals.
Overlaps are the same in both: along each axis all boxes of an image are stretched alike. What lies
beyond the image, in a letterbox's bars, is cut off, as `cxrssl predict` does.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from cxrssl.data.coco.write import DetectedImage, Detection, write_detections
from cxrssl.data.detection import Example
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, detections_of
from cxrssl.metrics.annotations import Detections


def in_original_px(
    detections: Sequence[ImageDetections], examples: Sequence[Example], store: Store
) -> Detections:
    """Return detections in store pixels, an entry an example, in pixels of the original images.

    They have the digits that are written, so that a file and its scores agree.
    """
    return detections_of(
        [
            _image_in_original_px(of_image, store, example.row)
            for of_image, example in zip(detections, examples, strict=True)
        ]
    )


def _image_in_original_px(detections: ImageDetections, store: Store, row: int) -> ImageDetections:
    placement = store.placement(row)
    scale = torch.tensor([placement.x_scale, placement.y_scale] * 2, dtype=torch.float64)
    shift = torch.tensor([placement.x_offset_px, placement.y_offset_px] * 2, dtype=torch.float64)
    limit = torch.tensor([*_original_size(store, row)] * 2, dtype=torch.float64)
    boxes = torch.minimum(((detections["boxes"].double() - shift) / scale).clamp(min=0), limit)
    return ImageDetections(boxes=boxes, scores=detections["scores"], labels=detections["labels"])


def write_predictions(
    path: Path, detections: Detections, examples: Sequence[Example], store: Store
) -> None:
    """Write detections as a COCO data set, each annotation with its `score`.

    The id of an image is that of the store; as file name it has the same, because a store keeps no
    suffix.

    Args:
        path: The JSON file.
        detections: In pixels of the original images; image n is example n.
        examples: The images that the detector was run on.
        store: The store that they are in.

    Raises:
        OSError: If it can't be written.
    """
    images = (
        DetectedImage(example.image_id, example.image_id, width, height)
        for example in examples
        for width, height in [_original_size(store, example.row)]
    )
    columns = (detections.images, detections.labels, detections.boxes, detections.scores)
    rows = (
        Detection(examples[image].image_id, label + 1, (*box,), score)
        for image, label, box, score in zip(*(part.tolist() for part in columns), strict=True)
    )
    info = {
        "description": "boxes found by a detector in the test images of its run",
        "boxes": "xywh in pixels of the original images, whose sizes are given",
    }
    write_detections(path, images, rows, classes=store.classes, info=info)


def _original_size(store: Store, row: int) -> tuple[int, int]:
    image = store.images[row]
    return image.original_width, image.original_height
