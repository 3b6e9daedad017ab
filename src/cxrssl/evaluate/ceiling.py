"""The human ceiling: readers against each other and the rest, and a detector in the same terms."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cxrssl.data.fusion import Marks, fuse
from cxrssl.evaluate.given import Readings
from cxrssl.evaluate.intervals import difference, entries
from cxrssl.metrics.annotations import Detections, Flags, Floats
from cxrssl.metrics.comparison import NAMES, Side, compare, summary

_LEAST_IMAGES = 10
"""Looked at by both, for a pair or a reader to be listed; all of them count in the means."""
_REASONS = dict.fromkeys(NAMES, "neither drew a box") | {
    name: "no boxes of one class to compare" for name in NAMES if name.startswith("iou")
}


@dataclass(frozen=True)
class _Row:
    """A comparison of two sides, named, on the images that both looked at."""

    sides: tuple[str, str]
    images: Flags
    sums: Floats


class ReaderTable:
    """Comparisons of readers with each other, and of a detector with them, ready to be weighed.

    A detector is compared above the score at which it has as many boxes as a reader draws on
    average: nothing is chosen by what is right.

    Attributes:
        threshold: That score; None without a detector, or where it has no boxes.
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
            readings: Of several readers.
            found: What a detector found on the same images, or None.
            num_classes: K.
            consensus_iou: Overlap above which the other readers' boxes are fused.
        """
        looked, marks = readings.looked, readings.marks
        self._shared = np.sum(list(looked.values()), axis=0) >= 2
        self._is_listed = readings.is_listed
        own = {name: _side(marks, marks.readers == name) for name in looked}
        self.threshold: float | None = None
        model: Side | None = None
        if found is not None:
            self.threshold = _threshold(found, readings, self._shared)
            model = _drawn(found, np.inf if self.threshold is None else self.threshold)

        def row(a: str, b: str, first: Side, second: Side, images: Flags) -> _Row:
            sums = compare(first, second, images=images, num_classes=num_classes)
            return _Row((a, b), images, sums)

        self._pairs = [
            row(a, b, own[a], own[b], looked[a] & looked[b]) for a, b in combinations(looked, 2)
        ]
        self._left_out, self._model, self._beside = [], [], []
        for name, side in own.items():
            images = looked[name] & self._shared
            others = _consensus(marks, marks.readers != name, images, iou=consensus_iou)
            self._left_out.append(row(name, "others", side, others, images))
            if model is not None:
                self._model.append(row("model", name, model, side, images))
                self._beside.append(row("model", "others", model, others, images))
        groups = [group for group in (self._pairs, self._model) if group]
        self._num_pooled = len(groups)
        self._sums = np.stack(
            [
                *(np.sum([one.sums for one in group], axis=0) for group in groups),
                *(one.sums for one in (*self._pairs, *self._left_out, *self._beside)),
            ],
            axis=1,
        )  # [N, C, 9]

    def __call__(self, weights: Floats) -> Floats:
        """Return what all comparisons come to, [C * 6], with image n `weights[n]` times."""
        return summary(np.tensordot(weights, self._sums, axes=1)).reshape(-1)

    def as_json(self, values: Floats, samples: Floats) -> dict[str, Any]:
        """Say how the readers and the model did.

        Args:
            values: What a call gives with all weights 1.
            samples: [R, C * 6] what it gives on each draw.
        """
        shape = -1, len(NAMES)
        table = _Table(values.reshape(shape), samples.reshape(len(samples), *shape))
        found: dict[str, Any] = {
            "images": int(self._shared.sum()),
            "looked": "as listed" if self._is_listed else "every reader at every image",
            "between_readers": table.scores(0),
        }
        if self._model:
            gaps = table.gaps(1, 0)
            found |= {
                "score_threshold": self.threshold,
                "model": table.scores(1),
                "difference": gaps,
                "verdict": _verdict(gaps[NAMES[0]]),
            }
        first, second = self._num_pooled, self._num_pooled + len(self._pairs)
        third = second + len(self._left_out)
        found["pairs"] = [
            {"a": one.sides[0], "b": one.sides[1], "images": int(one.images.sum())}
            | table.scores(first + number)
            for number, one in enumerate(self._pairs)
            if one.images.sum() >= _LEAST_IMAGES
        ]
        found["leave_one_out"] = [
            {"reader": one.sides[0], "images": int(one.images.sum())}
            | table.scores(second + number)
            | (table.beside(third + number, second + number) if self._model else {})
            for number, one in enumerate(self._left_out)
            if one.images.sum() >= _LEAST_IMAGES
        ]
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
    fused = fuse(marks.chosen(rows & images[marks.images]), policy="consensus", iou=iou)
    return Side(fused.boxes, fused.labels, fused.images)


def _drawn(found: Detections, threshold: float) -> Side:
    kept = (found.scores >= threshold) & (found.boxes[:, 2:].min(axis=1, initial=np.inf) > 0)
    boxes = found.boxes[kept]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return Side(corners, found.labels[kept], found.images[kept])


def _threshold(found: Detections, readings: Readings, images: Flags) -> float | None:
    """Return the score above which as many boxes are left on `images` as a reader draws."""
    num_looks = sum(int((looked & images).sum()) for looked in readings.looked.values())
    num_drawn = int(images[readings.marks.images].sum())
    wanted = round(num_drawn / max(num_looks, 1) * images.sum())
    scores = np.sort(found.scores[images[found.images]])[::-1]
    return float(scores[min(wanted, len(scores)) - 1]) if wanted and len(scores) else None


def _verdict(gap: dict[str, float | None]) -> str:
    """Say whether a model agrees with readers as they agree with each other."""
    low, high = gap["low"], gap["high"]
    if low is None or high is None:
        return "can't be told: there is no interval"
    if low > 0:
        return "the model agrees with the readers more than they do with each other"
    if high < 0:
        return "the model agrees with the readers less than they do with each other"
    return "can't be told apart from another reader"
