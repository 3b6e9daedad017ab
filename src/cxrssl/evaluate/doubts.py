"""Signs that detections and truth do not belong together, although both can be read."""

from collections.abc import Iterator

from cxrssl.metrics.annotations import Detections, Floats, Truth
from cxrssl.metrics.scores import ScoreTable

_LEAST_IOU = 0.1


def doubts(table: ScoreTable, truth: Truth, found: Detections) -> Iterator[str]:
    """Yield a sentence for each sign that the scores are not those that were wanted.

    Args:
        table: Of the detections.
        truth: What was to be found.
        found: The detections.
    """
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


def _reach(boxes: Floats) -> str:
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return f"to x {right:.0f}, y {bottom:.0f}"
