"""Detections of a store's images in pixels of the original images, as they are scored and written.

A store is a square of any size; sizes of boxes, and what others compare with, are of the originals.
Overlaps are the same in both: along each axis all boxes of an image are stretched alike. What lies
beyond the image, in a letterbox's bars, is cut off, as `cxrssl predict` does.
"""

from collections.abc import Sequence
from typing import Any

import torch

from cxrssl.data.detection import Example
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, as_coco, detections_of
from cxrssl.metrics.annotations import Detections

_AREA_DECIMALS = 2


def in_original_px(
    found: Sequence[ImageDetections], examples: Sequence[Example], store: Store
) -> Detections:
    """Return detections in store pixels, an entry an example, in pixels of the original images.

    They have the digits that are written, so that a file and its scores agree.
    """
    return detections_of(
        [_of_image(own, store, example.row) for own, example in zip(found, examples, strict=True)]
    )


def _of_image(found: ImageDetections, store: Store, row: int) -> ImageDetections:
    place, image = store.placement(row), store.images[row]
    scale = torch.tensor([place.x_scale, place.y_scale] * 2, dtype=torch.float64)
    shift = torch.tensor([place.x_offset_px, place.y_offset_px] * 2, dtype=torch.float64)
    limit = torch.tensor([image.original_width, image.original_height] * 2, dtype=torch.float64)
    boxes = torch.minimum(((found["boxes"].double() - shift) / scale).clamp(min=0), limit)
    return ImageDetections(boxes=boxes, scores=found["scores"], labels=found["labels"])


def as_coco_dataset(found: Detections, examples: Sequence[Example], store: Store) -> dict[str, Any]:
    """Return detections as a COCO data set, each annotation with its `score`.

    Its `annotations` alone are COCO results. Boxes are xywh in pixels of the original images. The
    id of an image is that of the store; as file name it has the same, because a store keeps no
    suffix.

    Args:
        found: In original pixels, an image's number its place among the examples.
        examples: The images that were looked at.
        store: Where they are.
    """
    images = [
        {
            "id": example.image_id,
            "file_name": example.image_id,
            "width": store.images[example.row].original_width,
            "height": store.images[example.row].original_height,
        }
        for example in examples
    ]
    ids = [example.image_id for example in examples]
    annotations = [
        {"id": number, **entry, "area": _area(entry["bbox"]), "iscrowd": 0}
        for number, entry in enumerate(as_coco(found, ids), start=1)
    ]
    return {
        "info": {
            "description": "boxes found by a detector in the test images of its run",
            "boxes": "xywh in pixels of the original images, whose sizes are given",
        },
        "images": images,
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(store.classes, start=1)
        ],
        "annotations": annotations,
    }


def _area(box: Sequence[float]) -> float:
    return round(box[2] * box[3], _AREA_DECIMALS)
