"""Agreement of two sets of boxes, image by image, so that a bootstrap can weigh the images.

A set is what a reader drew, the consensus of several, or a detector's boxes above a threshold; all
are compared in the terms of `metrics.agreement`.

Shapes: N images, B boxes of a set.
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.agreement import matched, pairs_of
from cxrssl.metrics.annotations import Flags, Floats, Integers

MATCH_IOUS = (0.4, 0.5)
_MIN_IOU = 0.2
"""Source: the paper, section IV: overlaps of readers count above the fusion's threshold."""

NAMES = (
    *(f"f1_at_{iou}" for iou in MATCH_IOUS),
    "iou_mean",
    "iou_std",
    f"iou_above_{_MIN_IOU}_mean",
    f"iou_above_{_MIN_IOU}_std",
)
"""Names of the values of `summary`; each is defined in `metrics.agreement`."""

DEFINITIONS = {
    "f1_at_0.4": "2 TP / (2 TP + FP + FN) of one side against the other, over images that both "
    "looked at; boxes of one class matched one to one, the greatest overlap first, from IoU 0.4",
    "f1_at_0.5": "the same from IoU 0.5",
    "iou_mean": "mean IoU of every two boxes of one class in one image; the paper's table II",
    "iou_std": "its population standard deviation",
    "iou_above_0.2_mean": "the same over those that overlap by more than 0.2",
    "iou_above_0.2_std": "its population standard deviation",
    "between_readers": "all pairs of readers; of the n readers of an image each pair counts "
    "2 / (n - 1) times",
    "model": "detections scored score_threshold and more, against each reader or in their place",
    "leave_one_out": "a reader against the fused boxes of the others who looked at the image",
}


@dataclass(frozen=True)
class BoxSet:
    """Boxes of a reader, a consensus or a detector, on all images.

    Attributes:
        boxes: [B, 4] xyxy, pixels, each with an area.
        labels: [B] class.
        images: [B] number of the image.
    """

    boxes: Floats
    labels: Integers
    images: Integers

    def within(self, images: Flags) -> "BoxSet":
        """Return the boxes of some images, [N]."""
        rows = images[self.images]
        return BoxSet(self.boxes[rows], self.labels[rows], self.images[rows])


def compare(first: BoxSet, second: BoxSet, *, images: Flags, num_classes: int) -> Floats:
    """Return what each image adds to a comparison, [N, 9]; sums of rows go into `summary`.

    Args:
        first: One set of boxes.
        second: Another; swapping them changes nothing.
        images: [N] whether both have looked at an image: a box where the other drew nothing counts.
        num_classes: More than any label.
    """
    first, second = first.within(images), second.within(images)
    pairs = pairs_of(
        first.boxes,
        first.images * num_classes + first.labels,
        second.boxes,
        second.images * num_classes + second.labels,
    )
    pair_images = first.images[pairs.first]

    def per_image(image: Integers, values: Floats | None = None) -> Floats:
        return np.bincount(image, values, minlength=len(images)).astype(np.float64)

    columns = [per_image(first.images) + per_image(second.images)]
    columns += [per_image(first.images[matched(pairs, iou)]) for iou in MATCH_IOUS]
    for is_counted in (pairs.iou >= 0, pairs.iou > _MIN_IOU):
        iou, image = pairs.iou[is_counted], pair_images[is_counted]
        columns += [per_image(image), per_image(image, iou), per_image(image, iou**2)]
    return np.stack(columns, axis=1)


def summary(sums: Floats) -> Floats:
    """Return the values of `NAMES`, [..., 6], from the sums [..., 9] of comparisons.

    nan where nothing was drawn, or no boxes overlap.
    """
    drawn, counts = sums[..., :1], sums[..., 1:]
    f1 = _ratio(2 * counts[..., : len(MATCH_IOUS)], drawn)
    count, total, squares = np.moveaxis(
        counts[..., len(MATCH_IOUS) :].reshape(*sums.shape[:-1], 2, 3), -1, 0
    )
    mean = _ratio(total, count)
    std = np.sqrt(np.maximum(_ratio(squares, count) - mean**2, 0.0))
    overlaps = np.stack([mean, std], axis=-1).reshape(*sums.shape[:-1], 4)
    return np.concatenate([f1, overlaps], axis=-1)


def _ratio(values: Floats, totals: Floats) -> Floats:
    ratios: Floats = values / np.where(totals > 0, totals, np.nan)
    return ratios
