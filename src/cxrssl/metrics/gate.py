"""Quality of an image-level gate: does p tell images with boxes from those without?

With `metrics.representation` the door to torchmetrics. Shapes: N images.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cxrssl.metrics.calibration import NUM_BINS


@dataclass(frozen=True)
class GateScores:
    """Scores of the probability p that an image has a box, on some images.

    Attributes:
        auroc: Probability that an image with boxes has a greater p than one without, in [0, 1]; .5
            is chance. None where there is one kind of image only.
        calibration_error: Mean gap between p and the share of images with boxes, over 10 equal bins
            of p weighed by their images, in [0, 1] (arXiv 1706.04599, equation 5); None likewise.
        num_with_boxes: Images whose truth has a box.
        num_without_boxes: The others.
        reason: Why the two scores are None; None where they are not.
    """

    auroc: float | None
    calibration_error: float | None
    num_with_boxes: int
    num_without_boxes: int
    reason: str | None

    def as_json(self) -> dict[str, float | int | str | None]:
        """Return the values by name."""
        return asdict(self)


def gate_scores(probabilities: NDArray[np.float32], has_boxes: NDArray[np.bool_]) -> GateScores:
    """Score the probabilities p of images by torchmetrics.

    Args:
        probabilities: [N] in [0, 1].
        has_boxes: [N] whether the truth of an image has a box.
    """
    num_with = int(has_boxes.sum())
    num_without = len(has_boxes) - num_with
    if not num_with or not num_without:
        kind = "with" if num_with else "without"
        reason = f"all {len(has_boxes)} images are {kind} boxes, so that none can be told apart"
        return GateScores(None, None, num_with, num_without, reason)
    # It imports all of its metrics, which takes two seconds: only where there is a gate.
    from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

    p, target = torch.from_numpy(probabilities), torch.from_numpy(has_boxes).long()
    auroc = float(binary_auroc(p, target))
    error = float(binary_calibration_error(p, target, n_bins=NUM_BINS, norm="l1"))
    return GateScores(auroc, error, num_with, num_without, None)
