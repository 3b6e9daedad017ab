"""Signs that detections and truth do not belong together, although both can be read."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.metrics.annotations import Detections, Floats, Integers
from cxrssl.metrics.scores import ScoreTable

_LEAST_IOU = 0.1
_MARGIN_PX, _MANY = 2.0, 0.5


def doubts(table: ScoreTable, inputs: EvaluationInputs, found: Detections) -> Iterator[str]:
    """Yield a sentence for each sign that the scores are not those that were wanted.

    Args:
        table: Of the detections.
        inputs: What was to be found.
        found: The detections.
    """
    truth = inputs.truth
    for word, boxes, images in (
        ("detections", found.boxes, found.images),
        ("true boxes", truth.boxes, truth.images),
    ):
        yield from _beyond(word, boxes, images, inputs.index.sizes)
    counts = ~truth.crowd
    if not counts.any() or not len(found.scores):
        return
    if table.best_overlap_any_class[counts].max() < _LEAST_IOU:
        yield (
            f"none of {len(found.scores)} detections overlaps any of {int(counts.sum())} true "
            f"boxes by IoU {_LEAST_IOU}. The detections reach {_reach(found.boxes)}, the true "
            f"boxes {_reach(truth.boxes)}: look whether both are [x, y, width, height] in pixels "
            "of the same pictures, and whether the image ids mean the same images"
        )
    elif table.best_overlap[counts].max() < _LEAST_IOU:
        yield (
            f"none of {len(found.scores)} detections overlaps a true box of its own category by "
            f"IoU {_LEAST_IOU}, and some overlap boxes of others: look whether the category ids "
            "mean the same classes"
        )


def _beyond(
    word: str, boxes: Floats, images: Integers, sizes: Sequence[tuple[int, int] | None]
) -> Iterator[str]:
    """Warn if half of the boxes leave their images, as corners taken for sides do."""
    if not sizes or not len(boxes):
        return
    unknown = (np.inf, np.inf)
    limits = np.array([unknown if size is None else size for size in sizes], np.float64)[images]
    outside = (boxes[:, :2] + boxes[:, 2:] > limits + _MARGIN_PX).any(axis=1)
    if outside.mean() >= _MANY:
        yield (
            f"{int(outside.sum())} of {len(boxes)} {word} end outside of their images, by the "
            "width and height that the truth gives: look whether they are [x, y, width, height] "
            "in pixels of these images"
        )


def _reach(boxes: Floats) -> str:
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return f"to x {right:.0f}, y {bottom:.0f}"
