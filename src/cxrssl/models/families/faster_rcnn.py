"""Faster R-CNN: torchvision's on a timm backbone, whose network is in `models.published`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from transformers import PreTrainedConfig

from cxrssl.core.errors import DataError
from cxrssl.models.config_file import UNUSED_KEYS, backbone_name, check_keys
from cxrssl.models.families.torchvision_parts import OUTPUT_RANGES, PYRAMID_RANGES, built
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.modeling_cxr_rcnn import CxrRcnnForObjectDetection, faster_rcnn
from cxrssl.models.ranges import (
    COUNT,
    FRACTION,
    MOST_POWER,
    MOST_RATIO,
    MOST_RATIOS,
    OVERLAP,
    Rule,
    checked,
    entries,
    number,
)
from cxrssl.models.sparse_roi_align import ChannelsLastPyramid, SparseMultiScaleRoIAlign

TITLE = "Faster R-CNN"
MODEL_TYPE: str = CxrRcnnConfig.model_type
ARCHITECTURE: str = CxrRcnnForObjectDetection.__name__
AUTO_MAP: Mapping[str, str] = {
    "AutoConfig": f"configuration_cxr_rcnn.{CxrRcnnConfig.__name__}",
    "AutoModelForObjectDetection": f"modeling_cxr_rcnn.{ARCHITECTURE}",
}
KEY_PREFIX = "model."
CLASS_LOSSES: tuple[str, ...] = ("loss_objectness", "loss_classifier")
CLASS_KEYS: tuple[str, ...] = ("roi_heads.box_predictor.",)
NORMALISES_INSIDE = True
HAS_NMS = True

# Ranges of the keys of `config.json`; its classes and backbone are checked elsewhere.
_RANGES: Mapping[str, Rule] = {
    **PYRAMID_RANGES,
    "norm_eps": number(0, 1) | None,  # 0 is torchvision's
    "head_features": COUNT,
    "anchor_ratios": entries(number(1 / MOST_RATIO, MOST_RATIO), 1, MOST_RATIOS),
    "box_loss": Literal["l1", "smooth_l1"],
    **dict.fromkeys(("rpn_pre_nms_train", "rpn_pre_nms_test"), COUNT),
    **dict.fromkeys(("rpn_post_nms_train", "rpn_post_nms_test"), COUNT),
    **dict.fromkeys(("rpn_nms_iou", "rpn_foreground_iou", "rpn_background_iou"), OVERLAP),
    "rpn_samples": COUNT,
    "rpn_positive_share": FRACTION,
    **dict.fromkeys(("roi_foreground_iou", "roi_background_iou"), OVERLAP),
    "roi_samples": COUNT,
    "roi_positive_share": FRACTION,
    "roi_align": Literal["torchvision", "sparse"],
    **OUTPUT_RANGES,
    "gate_power": number(0, MOST_POWER) | None,
    "gate_drop_below": FRACTION | None,
}


def config_of(
    fields: Mapping[str, Any],
    *,
    store_px: int,  # noqa: ARG001 - it resizes inside
    is_coco: bool,
) -> PreTrainedConfig:
    """See `Family`; a network of torchvision's COCO weights has the eps of its frozen norms.

    A body that comes on top was trained with timm's eps, and statistics taken anew can be those of
    a channel that never varies.
    """
    has_coco_norms = is_coco and fields["norm"] == "frozen"
    return CxrRcnnConfig(**fields, norm_eps=0.0 if has_coco_norms else None)


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
    power, drop_below = fields.get("gate_power"), fields.get("gate_drop_below")
    if (power is None) != (drop_below is None):
        raise DataError(
            f"{file} has gate_power {power} and gate_drop_below {drop_below}; expected two numbers "
            "for a detector with an image-level gate, and null or neither for one without. Take "
            "the folder as it was written."
        )
    return CxrRcnnConfig(backbone=backbone_name(content, file=file), **labels, **fields)


def build(config: PreTrainedConfig) -> nn.Module:
    """See `Family`."""
    if config.roi_align != "sparse":
        return built(config.backbone, partial(faster_rcnn, config))
    parts = {"pyramid": ChannelsLastPyramid, "roi_align": SparseMultiScaleRoIAlign}
    return built(config.backbone, partial(faster_rcnn, config, **parts))


def body(model: nn.Module) -> nn.Module:
    """See `Family`."""
    assert isinstance(model, GeneralizedRCNN)
    backbone: nn.Module = model.backbone.body
    return backbone


def replace_body(model: nn.Module, body: nn.Module) -> None:
    """See `Family`."""
    assert isinstance(model, GeneralizedRCNN)
    model.backbone.body = body


def body_input(model: nn.Module, images: list[Tensor]) -> Tensor:
    """See `Family`; images are resized and padded as in training."""
    assert isinstance(model, GeneralizedRCNN)
    pixels: Tensor = model.transform(images)[0].tensors
    return pixels


def seed_samples(model: nn.Module, seeds: list[int]) -> None:
    """See `Family`; anchors and proposals are drawn by image."""
    assert isinstance(model, GeneralizedRCNN)
    model.rpn.fg_bg_sampler.seeds = seeds
    model.roi_heads.fg_bg_sampler.seeds = [seed + 1 for seed in seeds]


def num_samples(
    model: nn.Module,
    true_boxes: Sequence[Tensor],  # noqa: ARG001 - what is sampled counts, not what is true
) -> dict[str, Tensor]:
    """See `Family`."""
    assert isinstance(model, GeneralizedRCNN)
    rpn, roi = model.rpn.fg_bg_sampler.num_samples, model.roi_heads.fg_bg_sampler.num_samples
    proposals = dict.fromkeys(("loss_objectness", "loss_rpn_box_reg"), rpn)
    return proposals | dict.fromkeys(("loss_classifier", "loss_box_reg"), roi)


def set_nms(model: nn.Module, *, iou: float, most: int) -> None:
    """See `Family`."""
    assert isinstance(model, GeneralizedRCNN)
    model.roi_heads.nms_thresh = iou
    model.roi_heads.detections_per_img = most


def network(model: nn.Module) -> nn.Module:
    """See `Family`; transformers' class holds torchvision's detector itself."""
    return model


def published_files() -> tuple[str, ...]:
    """See `Family`."""
    code = ("configuration_cxr_rcnn.py", "modeling_cxr_rcnn.py", "pyramid_cxr_rcnn.py")
    return (*code, "heads_cxr_rcnn.py", "object_detection_cxr.py")


def former_files() -> tuple[str, ...]:
    """See `Family`; the sparse pooling stays in cxrssl now."""
    return ("roi_align_cxr_rcnn.py",)
