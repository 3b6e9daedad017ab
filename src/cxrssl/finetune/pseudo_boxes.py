"""What a teacher finds in images without labels, and what that is worth, for the log.

Shapes: N boxes of an image, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes, iou_matrix
from cxrssl.data.unlabelled import TwoViews
from cxrssl.finetune.unlabelled import Unlabelled
from cxrssl.run.log import Log
from cxrssl.run.processes import Accelerator, warn

_SAME_IOU = 0.5
_STEPS_WITHOUT = 500
"""Steps without any box after which the user is told."""
_BY_CLASS = "pseudo_boxes/"


@dataclass(frozen=True)
class PseudoBoxes:
    """What a teacher finds in an image, strongest first.

    Attributes:
        boxes: [N, 4] float32 xyxy, pixels of the weak view.
        labels: [N] int64 in 1..K.
    """

    boxes: Boxes
    labels: NDArray[np.int64]


def no_boxes() -> PseudoBoxes:
    """Return what is found in an image without findings."""
    return PseudoBoxes(np.empty((0, 4), np.float32), np.empty(0, np.int64))


class PseudoBoxLog:
    """Counts of a step's pseudo boxes, and how many of them are hidden true boxes.

    What is logged is of the step at which it is due alone, so that a run that was cut and goes on
    logs the same.
    """

    def __init__(self, unlabelled: Unlabelled, classes: Sequence[str], *, threshold: float) -> None:
        self._unlabelled, self._classes, self._threshold = unlabelled, classes, threshold
        self._counts = np.zeros(5 + len(classes))
        self._steps, self._boxes, self._steps_without, self._has_warned = 0, 0, 0, False

    def add(self, views: Sequence[TwoViews], found: Sequence[PseudoBoxes]) -> None:
        """Count the pseudo boxes of this process's images of a step."""
        self._counts[:] = 0
        for view, pseudo in zip(views, found, strict=True):
            self._counts[0] += 1
            np.add.at(self._counts, 4 + pseudo.labels, 1)
            truth = self._unlabelled.truth.get(view.place)
            if truth is not None:
                boxes = view.weak_geometry.boxes(truth.boxes)
                matched = num_matched(pseudo, boxes, truth.labels + 1)
                self._counts[1:5] += (1, matched, len(pseudo.labels), len(boxes))
        self._steps += 1
        self._boxes += int(self._counts[5:].sum())

    def write_if_due(
        self, accelerator: Accelerator, log: Log, *, steps_done: int, epoch: int
    ) -> None:
        """Log the last step's counts when losses are due; every process must call it.

        Warns once if no image has had a box for 500 steps.
        """
        if not self._steps or not log.is_due(steps_done):
            return
        local = np.append(self._counts, self._boxes)
        tensor = torch.tensor(local, dtype=torch.float32, device=accelerator.device)
        *counts, boxes_since = accelerator.reduce(tensor, reduction="sum").tolist()
        self._steps_without = 0 if boxes_since else self._steps_without + self._steps
        self._steps, self._boxes = 0, 0
        images, compared, matched, compared_boxes, true_boxes, *of_class = map(int, counts)
        values: dict[str, float | None] = {
            "pseudo_images": images,
            "pseudo_boxes": sum(of_class),
            "pseudo_images_compared": compared,
            "pseudo_boxes_compared": compared_boxes,
            "pseudo_boxes_true": matched,
            "hidden_boxes": true_boxes,
        }
        values |= {
            f"{_BY_CLASS}{name}": count
            for name, count in zip(self._classes, of_class, strict=True)
            if count
        }
        log.write(values, steps_done=steps_done, epoch=epoch)
        if self._steps_without >= _STEPS_WITHOUT and not self._has_warned:
            self._has_warned = True
            if accelerator.is_main_process:
                warn(self._nothing_found())

    def _nothing_found(self) -> str:
        background = " but background" if any(self._unlabelled.normal) else ""
        return (
            f"no box of the teacher's has reached unlabelled.threshold {self._threshold:g} in the "
            f"last {self._steps_without} steps: the {len(self._unlabelled.images.rows)} images "
            f"without labels teach nothing{background}. Lower the threshold, raise "
            "unlabelled.burn_in_steps, or leave them out (unlabelled: null)."
        )


def num_matched(
    found: PseudoBoxes, true_boxes: NDArray[np.floating], true_labels: NDArray[np.int64]
) -> int:
    """Return how many boxes are true: each true box is found once, by the strongest of its class.

    Args:
        found: Boxes of an image.
        true_boxes: [M, 4] xyxy in the same pixels.
        true_labels: [M] in 1..K.
    """
    overlap = iou_matrix(found.boxes, true_boxes)
    overlap[found.labels[:, None] != true_labels[None]] = 0
    matched = 0
    for row in overlap:
        if len(row) and row.max() >= _SAME_IOU:
            overlap[:, row.argmax()] = 0
            matched += 1
    return matched


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the pseudo boxes of a run's logged steps were worth, for `metrics.json`.

    Returns:
        `steps` that were logged, `images` in them, `boxes_per_image`, also by class; `precision`
        and `recall` against hidden boxes, None where there are none to compare with.
    """
    logged = [line for line in lines if "pseudo_images" in line]
    total: dict[str, float] = {}
    for line in logged:
        for name, value in line.items():
            if name.startswith(("pseudo_", "hidden_")):
                total[name] = total.get(name, 0) + value
    images = total.get("pseudo_images", 0)

    def share(part: str, whole: str) -> float | None:
        return total[part] / total[whole] if total.get(whole) else None

    return {
        "steps": len(logged),
        "images": int(images),
        "boxes_per_image": share("pseudo_boxes", "pseudo_images"),
        "boxes_per_image_by_class": {
            name.removeprefix(_BY_CLASS): count / images
            for name, count in sorted(total.items())
            if name.startswith(_BY_CLASS)
        },
        "precision": share("pseudo_boxes_true", "pseudo_boxes_compared"),
        "recall": share("pseudo_boxes_true", "hidden_boxes"),
    }
