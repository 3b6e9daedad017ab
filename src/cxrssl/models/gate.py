"""The image-level gate of a detector: the features it sees, and a detector that has one.

Shapes: B images, D channels of the backbone's last map.
"""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from cxrssl.core.state import load_unique_tensors, unique_tensors
from cxrssl.models.backbone import body_maps
from cxrssl.models.detector import Detector, build_detector
from cxrssl.models.published.heads_cxr_rcnn import pooled


def has_gate(detector: Detector) -> bool:
    """Return whether a detector has an image-level gate."""
    return getattr(detector.config, "gate_power", None) is not None


@torch.no_grad()
def pooled_features(detector: Detector, images: list[Tensor]) -> Tensor:
    """Return what a gate sees of images: the mean over places of the backbone's last map.

    In use a detector may have another layout of memory, and so another last bit.

    Args:
        detector: A detector in use, not training.
        images: [3, H, W] in [0, 1] each, on its device.

    Returns:
        [B, D] float32, on the device.
    """
    assert not detector.model.training
    pixels = detector.family.body_input(detector.model, images)
    *_, last = body_maps(detector.body, pixels).values()
    return pooled(last)


def gate_probabilities(detector: Detector, features: Tensor) -> Tensor:
    """Return p [B] of pooled features [B, D] float32, on their device, by a detector's gate."""
    gate = deepcopy(detector.model.get_submodule("gate")).to(features.device)
    probabilities: Tensor = gate(features)
    return probabilities


def with_gate(
    detector: Detector, weight: Tensor, bias: Tensor, *, power: float, drop_below: float
) -> Detector:
    """Return a copy of a detector that has a gate; all else of it is the same.

    Args:
        detector: A detector without a gate, of a family that can have one.
        weight: [1, D] float32, of the logit of p.
        bias: [1] float32.
        power: See `models.published.heads_cxr_rcnn.ImageGate`, as `drop_below`.
        drop_below: See there.
    """
    config = deepcopy(detector.config)
    config.gate_power, config.gate_drop_below = power, drop_below
    model = build_detector(config)
    gate = {"gate.weight": weight, "gate.bias": bias}
    load_unique_tensors(model, unique_tensors(detector.model) | gate)
    processor = deepcopy(detector.processor)
    processor.score_threshold = 0.0  # the detector's own is applied before the gate
    return replace(detector, model=model, config=config, processor=processor)
