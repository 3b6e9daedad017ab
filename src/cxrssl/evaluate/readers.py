"""The human ceiling: readers against each other and the rest, and a detector in the same terms."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cxrssl.data.fusion import Marks, fuse
from cxrssl.evaluate.inputs import Readings
from cxrssl.evaluate.intervals import difference, entries
from cxrssl.metrics.annotations import Detections, Flags, Floats, Integers
from cxrssl.metrics.comparison import DEFINITIONS, NAMES, Side, compare, summary

_LEAST_IMAGES = 10
"""Looked at by both, for a pair or a reader to be listed; all of them count in the means."""
_REASONS = dict.fromkeys(NAMES, "neither drew a box") | {
    name: "no boxes of one class to compare" for name in NAMES if name.startswith("iou")
}


@dataclass(frozen=True)
class _Row:
    """A comparison of two sides, named, and what each image that both looked at adds to it."""

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
        found: Detections | None,
        *,
        num_classes: int,
        consensus_iou: float,
    ) -> None:
        """Compare.

        Args:
            readings: Of several readers, two of whom looked at one image at least.
            found: What a detector found on the same images, or None.
            num_classes: K.
            consensus_iou: Overlap above which the other readers' boxes are fused.
        """
        looked, marks = readings.looked, readings.marks
        num_readers = np.sum(list(looked.values()), axis=0)
        self._shared = num_readers >= 2
        self._is_listed = readings.is_listed
        self._share = 2 / np.maximum(num_readers - 1, 1)
        self._cut = None if found is None else _cut(found, readings, self._shared)
        own = {name: _side(marks, marks.readers == name) for name in looked}
        model = None if found is None or self._cut is None else _drawn(found, self._cut.threshold)

        def row(a: str, b: str, first: Side, second: Side, images: Flags) -> _Row:
            sums = compare(first, second, images=images, num_classes=num_classes)
            return _Row((a, b), np.flatnonzero(images), sums[images])

        self._pairs = [
            row(a, b, own[a], own[b], looked[a] & looked[b])
            for a, b in combinations(looked, 2)
            if (looked[a] & looked[b]).any()
        ]
        self._left_out, self._model, self._beside = [], [], []
        for name, side in own.items():
            images = looked[name] & self._shared
            others = _consensus(marks, marks.readers != name, images, iou=consensus_iou)
            self._left_out.append(row(name, "others", side, others, images))
            if model is not None:
                self._model.append(row("model", name, model, side, images))
                self._beside.append(row("model", "others", model, others, images))
        num = len(self._shared)
        self._pooled = [_pooled(self._pairs, num) * self._share[:, None]]
        self._pooled += [_pooled(self._model, num)] if self._model else []

    def __call__(self, weights: Floats) -> Floats:
        """Return what all comparisons come to, [C * 6], with image n `weights[n]` times.

        All pairs of readers, the model and each reader if there is one, then every row.
        """
        rows = (*self._pairs, *self._left_out, *self._beside)
        sums = [weights @ pooled for pooled in self._pooled]
        sums += [weights[one.images] @ one.sums for one in rows]
        return summary(np.stack(sums)).reshape(-1)

    def as_json(self, values: Floats, samples: Floats) -> dict[str, Any]:
        """Say how the readers and the model did.

        Args:
            values: What a call gives with all weights 1.
            samples: [R, C * 6] what it gives on each draw.
        """
        shape = len(values) // len(NAMES), len(NAMES)
        table = _Table(values.reshape(shape), samples.reshape(len(samples), *shape))
        found: dict[str, Any] = {
            "images": int(self._shared.sum()),
            "looked": "as listed" if self._is_listed else "every reader at every image",
            "between_readers": table.scores(0),
        }
        if self._model and self._cut is not None:
            gaps = table.gaps(1, 0)
            found |= asdict(self._cut)
            found |= {"model": table.scores(1), "difference": gaps, "verdict": _verdict(gaps)}
        first = len(self._pooled)
        second = first + len(self._pairs)
        third = second + len(self._left_out)
        found["pairs"] = [
            {"a": one.sides[0], "b": one.sides[1], "images": len(one.images)}
            | table.scores(first + number)
            for number, one in enumerate(self._pairs)
            if one.is_listed
        ]
        found["leave_one_out"] = [
            {"reader": one.sides[0], "images": len(one.images)}
            | table.scores(second + number)
            | (table.beside(third + number, second + number) if self._model else {})
            for number, one in enumerate(self._left_out)
            if one.is_listed
        ]
        found["definitions"] = DEFINITIONS
        return found


@dataclass(frozen=True)
class _Table:
    """Values [C, 6] of comparisons and their replicates [R, C, 6]."""

    values: Floats
    samples: Floats

    def scores(self, row: int) -> dict[str, Any]:
        return entries(NAMES, self.values[row], self.samples[:, row], _REASONS)

    def gaps(self, row: int, other: int) -> dict[str, Any]:
        return {
            name: difference(
                self.values[row, place],
                self.samples[:, row, place],
                self.values[other, place],
                self.samples[:, other, place],
            )
            for place, name in enumerate(NAMES)
        }

    def beside(self, row: int, other: int) -> dict[str, Any]:
        """Return a model's scores where a reader's stand, and how much greater they are."""
        return {"model": self.scores(row), "difference": self.gaps(row, other)}


def _side(marks: Marks, rows: Flags) -> Side:
    return Side(marks.boxes[rows], marks.labels[rows], marks.images[rows])


def _consensus(marks: Marks, rows: Flags, images: Flags, *, iou: float) -> Side:
    fused = fuse(marks.select(rows & images[marks.images]), policy="consensus", iou=iou)
    return Side(fused.boxes, fused.labels, fused.images)


def _drawn(found: Detections, threshold: float) -> Side:
    kept = (found.scores >= threshold) & (found.boxes[:, 2:].min(axis=1, initial=np.inf) > 0)
    boxes = found.boxes[kept]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return Side(corners, found.labels[kept], found.images[kept])


@dataclass(frozen=True)
class _Cut:
    """Above which score a model has about as many boxes as a reader draws.

    Attributes:
        score_threshold: None where it has no boxes.
        model_boxes: How many it has above, on images with two readers and more.
        boxes_a_reader_draws: On as many images.
    """

    score_threshold: float | None
    model_boxes: int
    boxes_a_reader_draws: float

    @property
    def threshold(self) -> float:
        return np.inf if self.score_threshold is None else self.score_threshold


def _cut(found: Detections, readings: Readings, images: Flags) -> _Cut:
    num_looks = sum(int((looked & images).sum()) for looked in readings.looked.values())
    drawn = int(images[readings.marks.images].sum()) / num_looks * int(images.sum())
    scores = np.sort(found.scores[images[found.images]])[::-1]
    wanted = min(round(drawn), len(scores))
    if not wanted:
        return _Cut(None, 0, drawn)
    least = float(scores[wanted - 1])
    return _Cut(least, int((scores >= least).sum()), drawn)


def _pooled(rows: Sequence[_Row], num_images: int) -> Floats:
    """Return what each image adds to all rows together, [N, 9]."""
    sums = np.zeros((num_images, 9))
    for one in rows:
        sums[one.images] += one.sums
    return sums


def _verdict(gaps: dict[str, Any]) -> str:
    """Say whether a model agrees with readers as they agree with each other."""
    low, high = (gaps[NAMES[0]][end] for end in ("low", "high"))
    if low is None or high is None:
        return "can't be told: there is no interval"
    if low > 0:
        return "the model agrees with the readers more than they do with each other"
    if high < 0:
        return "the model agrees with the readers less than they do with each other"
    return "can't be told apart from another reader"
