"""True boxes and detections as columns, from which every score of a detector is computed.

Boxes are COCO's [x_min, y_min, width, height] in pixels of their image, float64, because overlaps
must be the same to the last bit as pycocotools', which starts from these.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """True boxes of `num_images` images, sorted by image.

    Attributes:
        images: [N] number of the image, 0..num_images-1, non-decreasing.
        labels: [N] class, 0..num_classes-1.
        boxes: [N, 4] xywh, pixels.
        areas: [N] px^2, by which a box is small, medium or large.
        crowd: [N] whether the box stands for many: detections on it count neither way.
        support: [N] readers behind the box, >= 1; 0 where that is not known.
        num_images: Number of images, with and without boxes.
        num_classes: Number of classes, with and without boxes.
    """

    images: Integers
    labels: Integers
    boxes: Floats
    areas: Floats
    crowd: Flags
    support: Integers
    num_images: int
    num_classes: int

    @property
    def holds(self) -> Flags:
        """[num_images, num_classes] whether an image holds a class, without crowds."""
        holds = np.zeros((self.num_images, self.num_classes), bool)
        holds[self.images[~self.crowd], self.labels[~self.crowd]] = True
        return holds

    def select(self, rows: Flags) -> "Truth":
        """Return some of the boxes, [N], on the same images."""
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            boxes=self.boxes[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
            support=self.support[rows],
        )

    @property
    def sha256(self) -> str:
        """A fingerprint; two evaluations on one truth have the same."""
        digest = hashlib.sha256(f"{self.num_images} {self.num_classes}".encode())
        for column in (self.images, self.labels, self.boxes, self.areas, self.crowd, self.support):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Detections:
    """Detections on the images of a `Truth`, sorted by image; within one in any order.

    Attributes:
        images: [N] number of the image, non-decreasing.
        labels: [N] class, 0-based.
        boxes: [N, 4] xywh, pixels.
        scores: [N] finite; greater is surer.
    """

    images: Integers
    labels: Integers
    boxes: Floats
    scores: Floats

    def select(self, rows: Flags) -> "Detections":
        """Return some of them, [N]."""
        return Detections(self.images[rows], self.labels[rows], self.boxes[rows], self.scores[rows])


def overlaps(first: Floats, second: Floats, crowd: Flags) -> Floats:
    """Return the overlap [P] of detections [P, 4] with true boxes [P, 4], row by row, xywh.

    With a crowd it is the fraction of the detection that lies on it. Boxes that only touch, or have
    no area, overlap by 0.

    Source: pycocotools 2.0, maskApi.c, `bbIou`; the same operations in the same order.
    """
    x, y, w, h = first.T
    x_true, y_true, w_true, h_true = second.T
    across = np.minimum(w + x, w_true + x_true) - np.maximum(x, x_true)
    down = np.minimum(h + y, h_true + y_true) - np.maximum(y, y_true)
    intersection = across * down
    area = w * h
    union = np.where(crowd, area, area + w_true * h_true - intersection)
    iou: Floats = np.zeros(len(first))
    np.divide(intersection, union, out=iou, where=(across > 0) & (down > 0))
    return iou
