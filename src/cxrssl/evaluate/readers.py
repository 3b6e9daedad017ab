"""Agreement of readers with each other and with their consensus, and of a detector with readers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cxrssl.data.fusion import Marks, fuse
from cxrssl.evaluate.inputs import Readings
from cxrssl.evaluate.intervals import difference, entries
from cxrssl.metrics.annotations import Detections, Flags, Floats, Integers
from cxrssl.metrics.comparison import DEFINITIONS, NAMES, BoxSet, compare, summary

_LEAST_IMAGES = 10
"""Looked at by both, for a pair or a reader to be listed; all of them count in the means."""
_REASONS = dict.fromkeys(NAMES, "neither drew a box") | {
    name: "no boxes of one class to compare" for name in NAMES if name.startswith("iou")
}


@dataclass(frozen=True)
class _Comparison:
    """A comparison of two sets of boxes.

    Attributes:
        sides: Names of the two.
        images: [n] the images that both looked at.
        sums: [n, 9] what each of them adds, see `metrics.comparison.compare`.
    """

    sides: tuple[str, str]
    images: Integers
    sums: Floats

    @property
    def is_listed(self) -> bool:
        return len(self.images) >= _LEAST_IMAGES


class ReaderTable:
    """Comparisons of readers with each other, and of a detector with them, ready to be weighed.

    A detector is compared above the score at which it has as many boxes as a reader draws on
    average: nothing is chosen by what is right.

    In the means over pairs of readers each reader of an image counts once, as each does in the mean
    over the model and a reader: of n readers, every pair counts 2 / (n - 1) times.
    """

    def __init__(
        self,
        readings: Readings,
        detections: Detections | None,
        *,
        num_classes: int,
        consensus_iou: float,
    ) -> None:
        """Compare.

        Args:
            readings: Boxes of several readers, two of whom looked at one image at least.
            detections: Detections on the same images, or None.
            num_classes: Number of classes, K.
            consensus_iou: Overlap above which the other readers' boxes are fused.
        """
        looked, marks = readings.looked, readings.marks
        num_readers = np.sum(list(looked.values()), axis=0)
        self._shared = num_readers >= 2
        self._is_listed = readings.is_listed
        self._pair_weight = 2 / np.maximum(num_readers - 1, 1)
        self._operating_point: _OperatingPoint | None = None
        model: BoxSet | None = None
        if detections is not None:
            self._operating_point = _operating_point(detections, readings, self._shared)
            model = _boxes_above(detections, self._operating_point.threshold)
        by_reader = {name: _reader_boxes(marks, marks.readers == name) for name in looked}

        def comparison(a: str, b: str, first: BoxSet, second: BoxSet, images: Flags) -> _Comparison:
            sums = compare(first, second, images=images, num_classes=num_classes)
            return _Comparison((a, b), np.flatnonzero(images), sums[images])

        self._pairs = [
            comparison(a, b, by_reader[a], by_reader[b], looked[a] & looked[b])
            for a, b in combinations(looked, 2)
            if (looked[a] & looked[b]).any()
        ]
        self._leave_one_out, self._model, self._model_vs_others = [], [], []
        for name, side in by_reader.items():
            images = looked[name] & self._shared
            others = _consensus(marks, marks.readers != name, images, iou=consensus_iou)
            self._leave_one_out.append(comparison(name, "others", side, others, images))
            if model is not None:
                self._model.append(comparison("model", name, model, side, images))
                self._model_vs_others.append(comparison("model", "others", model, others, images))
        num = len(self._shared)
        self._pooled = [_pooled(self._pairs, num) * self._pair_weight[:, None]]
        self._pooled += [_pooled(self._model, num)] if self._model else []

    def __call__(self, weights: Floats) -> Floats:
        """Return what all comparisons come to, [C * 6], with image n `weights[n]` times.

        All pairs of readers, the model and each reader if there is one, then every row.
        """
        comparisons = (*self._pairs, *self._leave_one_out, *self._model_vs_others)
        sums = [weights @ pooled for pooled in self._pooled]
        sums += [weights[comparison.images] @ comparison.sums for comparison in comparisons]
        return summary(np.stack(sums)).reshape(-1)

    def as_json(self, values: Floats, samples: Floats) -> dict[str, Any]:
        """Return the comparisons as they are written.

        Args:
            values: [C * 6] result of a call with all weights 1.
            samples: [R, C * 6] results of a call on each draw.
        """
        shape = len(values) // len(NAMES), len(NAMES)
        table = _Table(values.reshape(shape), samples.reshape(len(samples), *shape))
        content: dict[str, Any] = {
            "images": int(self._shared.sum()),
            "looked": "as listed" if self._is_listed else "every reader at every image",
            "between_readers": table.scores(0),
        }
        if self._model and self._operating_point is not None:
            gaps = table.gaps(1, 0)
            content |= asdict(self._operating_point)
            content |= {"model": table.scores(1), "difference": gaps, "verdict": _verdict(gaps)}
        first = len(self._pooled)
        second = first + len(self._pairs)
        third = second + len(self._leave_one_out)
        content["pairs"] = [
            {"a": comparison.sides[0], "b": comparison.sides[1], "images": len(comparison.images)}
            | table.scores(first + number)
            for number, comparison in enumerate(self._pairs)
            if comparison.is_listed
        ]
        content["leave_one_out"] = [
            {"reader": comparison.sides[0], "images": len(comparison.images)}
            | table.scores(second + number)
            | (table.with_model(third + number, second + number) if self._model else {})
            for number, comparison in enumerate(self._leave_one_out)
            if comparison.is_listed
        ]
        content["definitions"] = DEFINITIONS
        return content


@dataclass(frozen=True)
class _Table:
    """Values [C, 6] of comparisons and their replicates [R, C, 6]."""

    values: Floats
    samples: Floats

    def scores(self, row: int) -> dict[str, Any]:
        return entries(NAMES, self.values[row], self.samples[:, row], _REASONS)

    def gaps(self, row: int, other: int) -> dict[str, Any]:
        columns = (self.values, self.samples.transpose(1, 2, 0))
        first, second = ([column[index] for column in columns] for index in (row, other))
        return {
            name: difference(*values) for name, *values in zip(NAMES, *first, *second, strict=True)
        }

    def with_model(self, row: int, other: int) -> dict[str, Any]:
        """Return a model's scores in a reader's place, and how much greater they are."""
        return {"model": self.scores(row), "difference": self.gaps(row, other)}


def _reader_boxes(marks: Marks, rows: Flags) -> BoxSet:
    return BoxSet(marks.boxes[rows], marks.labels[rows], marks.images[rows])


def _consensus(marks: Marks, rows: Flags, images: Flags, *, iou: float) -> BoxSet:
    fused = fuse(marks.select(rows & images[marks.images]), policy="consensus", iou=iou)
    return BoxSet(fused.boxes, fused.labels, fused.images)


def _boxes_above(detections: Detections, threshold: float) -> BoxSet:
    has_area = detections.boxes[:, 2:].min(axis=1, initial=np.inf) > 0
    is_kept = (detections.scores >= threshold) & has_area
    boxes = detections.boxes[is_kept]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return BoxSet(corners, detections.labels[is_kept], detections.images[is_kept])


@dataclass(frozen=True)
class _OperatingPoint:
    """The score threshold at which a model has about as many boxes as a reader draws.

    Attributes:
        score_threshold: The threshold, None where the model has no boxes.
        model_boxes: Its boxes at or above it, on images with two readers and more.
        boxes_a_reader_draws: Boxes that a reader draws on as many images.
    """

    score_threshold: float | None
    model_boxes: int
    boxes_a_reader_draws: float

    @property
    def threshold(self) -> float:
        return np.inf if self.score_threshold is None else self.score_threshold


def _operating_point(detections: Detections, readings: Readings, images: Flags) -> _OperatingPoint:
    num_looks = sum(int((looked & images).sum()) for looked in readings.looked.values())
    drawn = int(images[readings.marks.images].sum()) / num_looks * int(images.sum())
    scores = np.sort(detections.scores[images[detections.images]])[::-1]
    num_boxes = min(round(drawn), len(scores))
    if not num_boxes:
        return _OperatingPoint(None, 0, drawn)
    least = float(scores[num_boxes - 1])
    return _OperatingPoint(least, int((scores >= least).sum()), drawn)


def _pooled(comparisons: Sequence[_Comparison], num_images: int) -> Floats:
    """Return what each image adds to all rows together, [N, 9]."""
    sums = np.zeros((num_images, 9))
    for comparison in comparisons:
        sums[comparison.images] += comparison.sums
    return sums


def _verdict(gaps: dict[str, Any]) -> str:
    """Say whether a model agrees with readers as they agree with each other."""
    low, high = (gaps[NAMES[0]][end] for end in ("low", "high"))
    if "reason" in gaps[NAMES[0]]:
        return "can't be told: every draw of these images gives this difference"
    if low is None or high is None:
        return "can't be told: there is no interval"
    if low > 0:
        return "the model agrees with the readers more than they do with each other"
    if high < 0:
        return "the model agrees with the readers less than they do with each other"
    return "can't be told apart from another reader"
