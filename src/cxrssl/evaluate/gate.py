"""What an image-level gate did on the images that are scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrssl.data.detection import Example
from cxrssl.evaluate.detect import ImageDetections
from cxrssl.metrics.gate import gate_scores


def before_gate(detections: Sequence[ImageDetections]) -> list[ImageDetections] | None:
    """Return the detections before the gate, None of a detector without one."""
    if not all("gate" in of_image for of_image in detections):
        return None
    return [of_image["gate"]["detections"] for of_image in detections]


def gate_entry(
    detections: Sequence[ImageDetections], examples: Sequence[Example]
) -> dict[str, Any]:
    """Return the scores of a gate's p, and how many images it left without any detection.

    Args:
        detections: Of a detector with a gate, one entry an example.
        examples: The images; one has a finding if its truth has a box.
    """
    has_boxes = np.array([len(example.boxes) > 0 for example in examples], bool)
    gates = [of_image["gate"] for of_image in detections]
    probabilities = np.array([gate["finding_probability"] for gate in gates], np.float32)
    emptied = np.array(
        [
            len(gate["detections"]["scores"]) > 0 and not len(of_image["scores"])
            for gate, of_image in zip(gates, detections, strict=True)
        ],
        bool,
    )
    return {
        **gate_scores(probabilities, has_boxes).as_json(),
        "num_emptied_with_boxes": int((emptied & has_boxes).sum()),
        "num_emptied_without_boxes": int((emptied & ~has_boxes).sum()),
    }
