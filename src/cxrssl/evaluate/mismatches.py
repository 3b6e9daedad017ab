"""Signs that detections and truth do not belong together, although both can be read."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.metrics.annotations import Detections, Floats, Integers
from cxrssl.metrics.scores import ScoreTable

_LEAST_IOU = 0.1
_MARGIN_PX, _MANY = 2.0, 0.5
_FOUND_IOU, _LEAST_FOUND = 0.5, 5


def mismatch_warnings(
    table: ScoreTable, inputs: EvaluationInputs, detections: Detections
) -> Iterator[str]:
    """Yield a sentence for each sign that detections and truth do not belong together.

    Args:
        table: Scores of the detections.
        inputs: The truth.
        detections: Detections on its images.
    """
    truth = inputs.truth
    for subject, boxes, images in (
        ("detections", detections.boxes, detections.images),
        ("true boxes", truth.boxes, truth.images),
    ):
        yield from _outside_image(subject, boxes, images, inputs.index.sizes)
    counts = ~truth.crowd
    if not counts.any() or not len(detections.scores):
        return
    if table.best_overlap_any_class[counts].max() < _LEAST_IOU:
        yield (
            f"none of {len(detections.scores)} detections overlaps any of {int(counts.sum())} "
            f"true boxes by IoU {_LEAST_IOU}. The detections reach {_extent(detections.boxes)}, "
            f"the true boxes {_extent(truth.boxes)}: look whether both are [x, y, width, height] "
            "in pixels of the same images, and whether the image ids mean the same images"
        )
    elif table.best_overlap[counts].max() < _LEAST_IOU:
        yield (
            f"none of {len(detections.scores)} detections overlaps a true box of its own category "
            f"by IoU {_LEAST_IOU}, and some overlap boxes of others: look whether the category ids "
            "mean the same classes"
        )
    yield from _shifted_categories(table, inputs, detections)


def _shifted_categories(
    table: ScoreTable, inputs: EvaluationInputs, detections: Detections
) -> Iterator[str]:
    """Warn if boxes are found by the category before or after their own.

    So it is if one file counts categories from 0 and the other from 1, and none is out of range.
    """
    truth = inputs.truth
    counts = ~truth.crowd
    own = int((table.best_overlap[counts] > _FOUND_IOU).sum())
    any_class = int((table.best_overlap_any_class[counts] > _FOUND_IOU).sum())
    if any_class < _LEAST_FOUND or 2 * own > any_class:
        return
    for shift in (1, -1):
        labels = detections.labels + shift
        rows = (labels >= 0) & (labels < truth.num_classes)
        moved = Detections(
            *(detections.images[rows], labels[rows], detections.boxes[rows]),
            detections.scores[rows],
        )
        found = int((ScoreTable(truth, moved).best_overlap[counts] > _FOUND_IOU).sum())
        if 2 * found > any_class and found > 3 * own:
            yield (
                f"{found} true boxes are found by detections of the category "
                f"{'before' if shift > 0 else 'after'} their own, and {own} by their own: the "
                "category ids seem to be shifted by one, as where one file counts from 0 and the "
                f"other from 1. {'Add 1 to' if shift > 0 else 'Subtract 1 from'} each of the "
                "detections, if that is so"
            )


def _outside_image(
    subject: str, boxes: Floats, images: Integers, sizes: Sequence[tuple[int, int] | None]
) -> Iterator[str]:
    """Warn if half of the boxes leave their images, as corners taken for sides do."""
    if not sizes or not len(boxes):
        return
    no_limit = (np.inf, np.inf)
    limits = np.array([no_limit if size is None else size for size in sizes], np.float64)[images]
    is_outside = (boxes[:, :2] + boxes[:, 2:] > limits + _MARGIN_PX).any(axis=1)
    if is_outside.mean() >= _MANY:
        yield (
            f"{int(is_outside.sum())} of {len(boxes)} {subject} end outside of their images, by "
            "the width and height that the truth gives: look whether they are [x, y, width, "
            "height] in pixels of these images"
        )


def _extent(boxes: Floats) -> str:
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return f"to x {right:.0f}, y {bottom:.0f}"
