"""What the families of torchvision's detectors have in common: a timm backbone and its pyramid."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from cxrssl.core.errors import TransferError
from cxrssl.models.backbone import check_known
from cxrssl.models.ranges import (
    COUNT,
    FRACTION,
    MEAN,
    MOST_LAYERS,
    MOST_SIDE_PX,
    OVERLAP,
    PROTOCOL,
    SIDE,
    STD,
    Rule,
    entries,
    integer,
)

PYRAMID_RANGES: Mapping[str, Rule] = {
    "norm": Literal["frozen", "recalibrated", "bn", "sync", "gn"],
    "frozen_stages": integer(0, MOST_LAYERS),
    "size_px": SIDE,
    "image_mean": MEAN,
    "image_std": STD,
    "fpn_channels": COUNT,
    "anchor_sizes_px": entries(integer(1, MOST_SIDE_PX), 5, 5),
}
"""Ranges of the keys of `config.json` that shape what the network sees, body and pyramid."""
OUTPUT_RANGES: Mapping[str, Rule] = {
    "nms_iou": OVERLAP,
    "score_threshold": FRACTION,
    "detections_per_image": COUNT,
    "protocol": PROTOCOL,
}
"""Ranges of those that say which detections there are."""


def built(backbone: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Return what a function of `models.published` builds on a backbone.

    Args:
        backbone: timm's name of it.
        build: The function.

    Raises:
        TransferError: If timm lacks the backbone, or it can't carry the detector.
    """
    check_known(backbone)
    try:
        return build()
    except ValueError as error:
        raise TransferError(f"{str(error).rstrip('.')}.") from error
