"""`predictions.json`: a COCO data set with every finding as an annotation that has a `score`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cxrssl.core.printable import valid_text
from cxrssl.data.coco.write import DetectedImage, Detection, write_detections
from cxrssl.predict.found import Found

_SCORE_DECIMALS = 5


def write(
    out: Path, found: Iterable[Found], classes: Sequence[str], *, source: str
) -> dict[str, str]:
    """Write `predictions.json`: ids of images and of categories count from 1.

    A file that could not be read is left out; the `warnings` of an image are with it.
    """
    number_of = {name: number for number, name in enumerate(classes, start=1)}
    info = {"description": "boxes found by a detector", "detector": valid_text(source)}
    write_detections(
        out / "predictions.json",
        (
            DetectedImage(number, image.name, image.width, image.height, image.warnings)
            for number, image in _numbered(found)
        ),
        _detections(found, number_of),
        classes=[valid_text(name) for name in classes],
        info=info,
    )
    return {}


def _numbered(found: Iterable[Found]) -> Iterator[tuple[int, Found]]:
    return enumerate((image for image in found if not image.failure), start=1)


def _detections(found: Iterable[Found], number_of: dict[str, int]) -> Iterator[Detection]:
    for number, image in _numbered(found):
        for finding in image:
            x_min, y_min, x_max, y_max = finding.box
            box = (x_min, y_min, x_max - x_min, y_max - y_min)
            score = round(finding.score, _SCORE_DECIMALS)
            yield Detection(number, number_of[finding.label], box, score)
