"""Small detectors of every family, for several tests."""

from typing import Any

import torch
from transformers import PreTrainedConfig

from cxrssl.core.images import Fit, Intensity
from cxrssl.models.detector import Detector, build_detector, image_processor
from cxrssl.models.families import faster_rcnn, rtdetr_v2
from cxrssl.models.families import fcos as fcos_module

ARCHITECTURES = (
    "resnet18", "resnet50", "resnetblur18", "convnext_atto", "efficientnet_lite0",
    "mobilenetv3_small_050", "swin_tiny_patch4_window7_224", "regnetx_002", "vit_tiny_patch16_224",
    "test_resnet",
)  # fmt: skip


SMALL: dict[str, Any] = {
    "backbone": "test_resnet",
    "norm": "bn",
    "id2label": {0: "a", 1: "b"},
    "size_px": 64,
    "fpn_channels": 16,
    "head_features": 32,
    "anchor_sizes_px": (4, 8, 16, 32, 64),
    "rpn_pre_nms_train": 100,
    "rpn_pre_nms_test": 100,
    "rpn_post_nms_train": 50,
    "rpn_post_nms_test": 50,
    "rpn_samples": 32,
    "roi_samples": 32,
    "score_threshold": 0.0,
    "detections_per_image": 20,
}
RTDETR: dict[str, Any] = {
    "backbone": "test_resnet", "norm": "bn", "width": 32, "num_queries": 25, "encoder_layers": 1,
    "decoder_layers": 2, "num_denoising": 4, "score_threshold": 0.0, "detections_per_image": 20,
    "id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}, "protocol": "corrected",
    "size_px": 64, "image_mean": 0.5, "image_std": 0.25,
}  # fmt: skip
FCOS: dict[str, Any] = {
    "backbone": "test_resnet", "norm": "bn", "frozen_stages": 0, "fpn_channels": 16,
    "head_layers": 1, "anchor_sizes_px": (2, 4, 8, 16, 32), "center_radius": 3.0,
    "candidates_per_level": 100, "score_threshold": 0.0, "nms_iou": 0.5, "detections_per_image": 20,
    "id2label": {0: "a", 1: "b"}, "protocol": "corrected", "size_px": 64, "image_mean": 0.5,
    "image_std": 0.25,
}  # fmt: skip


def detector(config: PreTrainedConfig, *, fit: Fit = "squash") -> Detector:
    """Return a detector with random weights, norms' statistics included."""
    torch.manual_seed(0)  # the weights matter to no other test
    model = build_detector(config)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    intensity = Intensity(equalize=True, mean=0.5, std=0.25)
    processor = image_processor(config, size_px=64, fit=fit, intensity=intensity)
    return Detector(model, config, processor)


def rcnn(**changes: object) -> PreTrainedConfig:
    """Return the configuration of a small Faster R-CNN with changes."""
    return faster_rcnn.config_of(SMALL | changes, store_px=64, is_coco=False)


def rtdetr(**changes: object) -> PreTrainedConfig:
    """Return the configuration of a small RT-DETRv2 with changes."""
    fields = RTDETR | changes
    return rtdetr_v2.config_of(fields, store_px=fields["size_px"], is_coco=False)


def fcos(**changes: object) -> PreTrainedConfig:
    """Return the configuration of a small FCOS with changes."""
    return fcos_module.config_of(FCOS | changes, store_px=64, is_coco=False)
