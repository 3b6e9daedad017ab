"""FCOS: torchvision's on a timm backbone, whose network is in `models.published`.

One stage: each place of the pyramid's maps predicts classes and a box, and there are no proposals,
no anchors of several shapes and no samples.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig

from cxrssl.models.config_file import UNUSED_KEYS, backbone_name, check_keys
from cxrssl.models.families.torchvision_parts import OUTPUT_RANGES, PYRAMID_RANGES, built
from cxrssl.models.published.configuration_cxr_fcos import CxrFcosConfig
from cxrssl.models.published.modeling_cxr_fcos import (
    CxrFcosForObjectDetection,
    Fcos,
    FcosHeads,
    fcos,
)
from cxrssl.models.ranges import (
    COUNT,
    MOST_LAYERS,
    MOST_RADIUS,
    Rule,
    checked,
    integer,
    number,
)
from cxrssl.models.sparse_roi_align import ChannelsLastPyramid

TITLE = "FCOS"
MODEL_TYPE: str = CxrFcosConfig.model_type
ARCHITECTURE: str = CxrFcosForObjectDetection.__name__
AUTO_MAP: Mapping[str, str] = {
    "AutoConfig": f"configuration_cxr_fcos.{CxrFcosConfig.__name__}",
    "AutoModelForObjectDetection": f"modeling_cxr_fcos.{ARCHITECTURE}",
}
KEY_PREFIX = "model."
CLASS_LOSSES: tuple[str, ...] = ("loss_classification",)
CLASS_KEYS: tuple[str, ...] = ("head.classification_head.cls_logits.",)
NORMALISES_INSIDE = True
HAS_NMS = True

_LOSSES = ("loss_classification", "loss_bbox_regression", "loss_bbox_ctrness")
# Ranges of the keys of `config.json`; its classes and backbone are checked elsewhere.
_RANGES: Mapping[str, Rule] = {
    **PYRAMID_RANGES,
    "head_layers": integer(1, MOST_LAYERS),
    "center_radius": number(0, MOST_RADIUS),
    "candidates_per_level": COUNT,
    **OUTPUT_RANGES,
}


def config_of(
    fields: Mapping[str, Any],
    *,
    store_px: int,  # noqa: ARG001 - it resizes inside
    is_coco: bool,  # noqa: ARG001 - a recipe that says so is refused
) -> PreTrainedConfig:
    """See `Family`."""
    return CxrFcosConfig(**fields)


def read_config(
    content: Mapping[str, Any],
    *,
    labels: Mapping[str, Any],
    size_px: int,  # noqa: ARG001 - the file has its own
    file: str,
) -> PreTrainedConfig:
    """See `Family`."""
    check_keys(content, (*_RANGES, *UNUSED_KEYS), file=file)
    fields = checked(content, _RANGES, file=file)
    return CxrFcosConfig(backbone=backbone_name(content, file=file), **labels, **fields)


def build(config: PreTrainedConfig) -> nn.Module:
    """See `Family`."""
    return built(config.backbone, partial(fcos, config, pyramid=ChannelsLastPyramid))


def body(model: nn.Module) -> nn.Module:
    """See `Family`."""
    assert isinstance(model, Fcos)
    backbone: nn.Module = model.backbone.body
    return backbone


def replace_body(model: nn.Module, body: nn.Module) -> None:
    """See `Family`."""
    assert isinstance(model, Fcos)
    model.backbone.body = body


def body_input(model: nn.Module, images: list[Tensor]) -> Tensor:
    """See `Family`; images are resized and padded as in training."""
    assert isinstance(model, Fcos)
    pixels: Tensor = model.transform(images)[0].tensors
    return pixels


def seed_samples(model: nn.Module, seeds: list[int]) -> None:
    """See `Family`; all locations have a part in the losses, and none is drawn."""


def num_samples(
    model: nn.Module,
    true_boxes: Sequence[Tensor],  # noqa: ARG001 - what locations answer for counts
) -> dict[str, Tensor]:
    """See `Family`; the losses are divided by the locations that answer for a box, in all images.

    torchvision divides by 1 where there are none, and so does the loop.
    """
    assert isinstance(model, Fcos)
    heads = model.head
    assert isinstance(heads, FcosHeads)
    assert isinstance(heads.num_positives, Tensor)  # there was a batch
    return dict.fromkeys(_LOSSES, heads.num_positives)


def set_nms(model: nn.Module, *, iou: float, most: int) -> None:
    """See `Family`."""
    assert isinstance(model, Fcos)
    model.nms_thresh = iou
    model.detections_per_img = most


def network(model: nn.Module) -> nn.Module:
    """See `Family`; transformers' class holds torchvision's detector itself."""
    return model


def published_files() -> tuple[str, ...]:
    """See `Family`."""
    code = ("configuration_cxr_fcos.py", "modeling_cxr_fcos.py", "pyramid_cxr_rcnn.py")
    return (*code, "object_detection_cxr.py")


def former_files() -> tuple[str, ...]:
    """See `Family`."""
    return ()
