"""A position prior: fixed boxes that look at no image, the best that training boxes offer.

What a detector finds where such boxes are as good, the position of findings alone explains. For
each class boxes are chosen one after another among the training boxes themselves: the one that
adds most overlap with true boxes that those before it have not found, where the overlap is one that
FROC counts. A fixed box finds one true box an image at most, as in every score here. Such a greedy
choice covers about 63 % of what the best set of as many boxes covers, or more (Nemhauser, Wolsey
and Fisher 1978, Mathematical Programming 14).

Each box is scored by the fraction of the training images in which it is the one that finds: its
precision there, by which boxes of all classes have the order that gives the greatest FROC.

Shapes: B training boxes, C of them of one class, M fixed boxes; boxes xyxy in fractions of their
image's width and height. Overlaps are the same as in pixels.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Detections, Floats, Integers, overlaps

MOST_PER_CLASS = 10
"""Fixed boxes of a class."""
MOST_TRAINING_BOXES = 1000
"""Of a class, drawn at random where there are more: every two of them are compared."""
_MIN_IOU = 0.4
_SEED = 0


@dataclass(frozen=True)
class FixedBoxes:
    """M boxes that are laid on every image, class by class, in the order they were chosen.

    Attributes:
        labels: [M] class, 0-based.
        boxes: [M, 4] xyxy in fractions of the image's width and height.
        scores: [M] fraction of the training images in which the box found one that those before it
            had not, in (0, 1].
        num_images: Training images.
        num_boxes: Training boxes that were looked at.
        num_left_out: Training boxes beyond `MOST_TRAINING_BOXES` of a class.
    """

    labels: Integers
    boxes: Floats
    scores: Floats
    num_images: int
    num_boxes: int
    num_left_out: int

    def on(self, sizes_px: Floats) -> Detections:
        """Return them as detections on images of these sizes, [N, 2] width and height in pixels."""
        num_images, num_boxes = len(sizes_px), len(self.labels)
        xywh = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)
        return Detections(
            np.repeat(np.arange(num_images), num_boxes),
            np.tile(self.labels, num_images),
            (np.tile(sizes_px, 2)[:, None] * xywh).reshape(-1, 4),
            np.tile(self.scores, num_images),
        )


def fit_fixed_boxes(
    images: Integers, labels: Integers, boxes: Floats, *, num_images: int, num_classes: int
) -> FixedBoxes:
    """Choose fixed boxes.

    Args:
        images: [B] number of the training image of each box.
        labels: [B] class, 0-based.
        boxes: [B, 4] xyxy in fractions of the image's width and height.
        num_images: Number of training images, with and without boxes, >= 1.
        num_classes: Number of classes.
    """
    chosen: list[tuple[int, Floats, float]] = []
    num_used = 0
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        num_of_class = len(rows)
        if num_of_class > MOST_TRAINING_BOXES:
            generator = np.random.default_rng([_SEED, label])
            rows = np.sort(generator.choice(rows, MOST_TRAINING_BOXES, replace=False))
        num_used += len(rows)
        # Of a class whose boxes are not all looked at, these stand for all.
        weight = num_of_class / max(len(rows), 1)
        for row, hits in _chosen(images[rows], boxes[rows]):
            chosen.append((label, boxes[rows][row], min(1.0, hits * weight / num_images)))
    return FixedBoxes(
        np.array([label for label, _, _ in chosen], np.int64),
        np.array([box for _, box, _ in chosen], np.float64).reshape(-1, 4),
        np.array([score for _, _, score in chosen], np.float64),
        num_images,
        num_used,
        len(labels) - num_used,
    )


def _chosen(images: Integers, boxes: Floats) -> list[tuple[int, int]]:
    """Return rows of the boxes [C, 4] that are chosen, and in how many images each finds one."""
    overlap = _overlaps(boxes)
    by_image = np.argsort(images, kind="stable")
    first = np.flatnonzero(np.diff(images[by_image], prepend=-1))
    free = np.ones(len(boxes), bool)
    chosen = []
    for _ in range(MOST_PER_CLASS if len(boxes) else 0):
        # [C, images] the greatest overlap of each candidate with what is free in each image.
        of_free = np.where(free, overlap, 0.0)[:, by_image]
        best = np.maximum.reduceat(of_free, first, axis=1)
        found = best > _MIN_IOU
        # Overlaps rather than their number: on the lungs of 112 real films AP50 is greater by .06,
        # and FROC no less. Equal sums may differ in their last bits; the first is taken.
        row = int(np.round((best * found).sum(axis=1), 9).argmax())
        if not found[row].any():
            break
        chosen.append((row, int(found[row].sum())))
        starts, ends = first, np.append(first[1:], len(boxes))
        for start, end in zip(starts[found[row]], ends[found[row]], strict=True):
            free[by_image[start + int(of_free[row, start:end].argmax())]] = False
    return chosen


def _overlaps(boxes: Floats) -> Floats:
    """Return the IoU of every two boxes, [C, C]."""
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    num = len(boxes)
    first, second = np.repeat(xywh, num, axis=0), np.tile(xywh, (num, 1))
    return overlaps(first, second, np.zeros(num * num, bool)).reshape(num, num)
