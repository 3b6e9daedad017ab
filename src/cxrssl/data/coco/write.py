"""Detections as a COCO data set whose `annotations` alone are COCO results, each with its `score`.

Entries are written one after the other: those of ten thousand images do not fit in memory twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cxrssl.core.files import replacing

_BOX_DECIMALS = 2


class DetectedImage(NamedTuple):
    """An image that a detector was run on.

    Attributes:
        id: A number, or a store's id of the image.
        file_name: Path of its file, or the store's id again.
        width: Columns, pixels.
        height: Rows, pixels.
        warnings: What looks wrong with it; written as `warnings` if there are any.
    """

    id: int | str
    file_name: str
    width: int
    height: int
    warnings: Sequence[str] = ()


class Detection(NamedTuple):
    """A box that a detector returned.

    Attributes:
        image_id: `DetectedImage.id`.
        category_id: 1..K.
        bbox: x_min, y_min, width and height in pixels; rounded as it is written.
        score: As it is written.
    """

    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def write_detections(
    path: Path,
    images: Iterable[DetectedImage],
    detections: Iterable[Detection],
    *,
    classes: Sequence[str],
    info: Mapping[str, str],
) -> None:
    """Write a COCO data set, a line an entry; it appears whole or not at all.

    Args:
        path: Path of the JSON file; an existing one is replaced.
        images: With and without detections.
        detections: In the order of their ids, from 1.
        classes: Names of the categories 1..K.
        info: Content of COCO's `info`.

    Raises:
        OSError: If it can't be written.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{\n"info": {_json(info)},\n"images": [\n')
        file.writelines(_lines(map(_image, images)))
        file.write(f'],\n"categories": {_json(categories)},\n"annotations": [\n')
        numbered = enumerate(detections, start=1)
        file.writelines(_lines(_annotation(number, detection) for number, detection in numbered))
        file.write("]\n}\n")


def _image(image: DetectedImage) -> dict[str, Any]:
    entry = image._asdict()
    return entry if image.warnings else {key: entry[key] for key in entry if key != "warnings"}


def _annotation(number: int, detection: Detection) -> dict[str, Any]:
    _, _, width, height = detection.bbox
    return {
        "id": number,
        "image_id": detection.image_id,
        "category_id": detection.category_id,
        "bbox": [round(value, _BOX_DECIMALS) for value in detection.bbox],
        "area": round(width * height, _BOX_DECIMALS),
        "iscrowd": 0,
        "score": detection.score,
    }


def _lines(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    separator = ""
    for entry in entries:
        yield separator + _json(entry)
        separator = ",\n"
    if separator:
        yield "\n"


def _json(content: object) -> str:
    return json.dumps(content, allow_nan=False)
