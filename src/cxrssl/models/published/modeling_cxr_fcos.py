"""torchvision's FCOS on a timm backbone, and its form for transformers.

One of the files that travel with a published detector: it imports torchvision and transformers, no
cxrssl. Shapes: B images, N boxes, K classes, A locations of all levels; boxes xyxy, labels 1..K.
Source: FCOS, arXiv 2006.09214.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import (
    FCOS,
    FCOSClassificationHead,
    FCOSHead,
    FCOSRegressionHead,
)
from transformers.models.auto import modeling_auto

from .configuration_cxr_fcos import CxrFcosConfig
from .object_detection_cxr import TorchvisionForObjectDetection
from .pyramid_cxr_rcnn import NUM_CHANNELS, TimmPyramid, pyramid_of

_GROUP_CHANNELS, _MOST_GROUPS = 8, 32
_FIRST_DISTANCE = 4.0  # in lengths of the level


class FcosHeads(FCOSHead):  # type: ignore[misc]
    """torchvision's, its results float32 whatever it computes in, its GroupNorms fit to its width.

    In bfloat16 distances of a hundred pixels would be whole ones.

    Attributes:
        num_positives: Locations that answered for a box in the last batch, in all its images: what
            its losses are means over.
    """

    num_positives: Tensor | None = None

    def __init__(self, num_channels: int, num_classes: int, num_layers: int) -> None:
        """Build both heads: groups of eight channels, torchvision's 32 where there are 256."""
        super().__init__(num_channels, 1, num_classes, 0)
        groups = min(_MOST_GROUPS, num_channels // _GROUP_CHANNELS)
        norm = partial(nn.GroupNorm, groups)
        self.classification_head = FCOSClassificationHead(
            num_channels, 1, num_classes, num_layers, norm_layer=norm
        )
        self.regression_head = FCOSRegressionHead(num_channels, 1, num_layers, norm_layer=norm)
        # From 0, as in torchvision, half of all distances would be cut off by its ReLU, with their
        # gradient: every location begins with a box of a size that its level is for.
        nn.init.constant_(self.regression_head.bbox_reg.bias, _FIRST_DISTANCE)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """Return `cls_logits` [B, A, K], `bbox_regression` [B, A, 4], `bbox_ctrness` [B, A, 1]."""
        return {name: output.float() for name, output in super().forward(x).items()}

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Return torchvision's three losses, each a sum divided by `num_positives`, or by 1."""
        self.num_positives = torch.stack([(matched >= 0).sum() for matched in matched_idxs]).sum()
        losses = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return {f"loss_{name}": loss for name, loss in losses.items()}


class Fcos(FCOS):  # type: ignore[misc]
    """torchvision's FCOS with labels 1..K, and no output for a class 0 that never occurs."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        """Return the losses `loss_classification`, `loss_bbox_regression`, `loss_bbox_ctrness`."""
        from_0 = [target | {"labels": target["labels"] - 1} for target in targets]
        losses: dict[str, Tensor] = super().compute_loss(
            from_0, head_outputs, anchors, num_anchors_per_level
        )
        return losses

    def postprocess_detections(
        self,
        head_outputs: dict[str, list[Tensor]],
        anchors: list[list[Tensor]],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Return `boxes`, `scores` and `labels` of each image, strongest first."""
        detections = super().postprocess_detections(head_outputs, anchors, image_shapes)
        return [image | {"labels": image["labels"] + 1} for image in detections]


def fcos(config: CxrFcosConfig, *, pyramid: type[TimmPyramid] = TimmPyramid) -> Fcos:
    """Return a detector with random weights, its frozen parts frozen.

    Args:
        config: All numbers of the detector.
        pyramid: Class of the feature pyramid.

    Raises:
        ValueError: If the backbone can't carry a pyramid, or has no such stages, or the heads'
            channels do not come in eights.
    """
    if config.fpn_channels % _GROUP_CHANNELS:
        raise ValueError(
            f"fpn_channels is {config.fpn_channels}; FCOS needs a multiple of {_GROUP_CHANNELS}"
        )
    backbone = pyramid_of(
        pyramid,
        config.backbone,
        size_px=config.size_px,
        norm=config.norm,
        norm_eps=None,
        frozen_stages=config.frozen_stages,
        out_channels=config.fpn_channels,
    )
    sizes = tuple((side,) for side in config.anchor_sizes_px)
    return Fcos(
        backbone,
        config.num_labels,
        config.size_px,
        config.size_px,
        [config.image_mean] * NUM_CHANNELS,
        [config.image_std] * NUM_CHANNELS,
        anchor_generator=AnchorGenerator(sizes, ((1.0,),) * len(sizes)),
        head=FcosHeads(config.fpn_channels, config.num_labels, config.head_layers),
        center_sampling_radius=config.center_radius,
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou,
        detections_per_img=config.detections_per_image,
        topk_candidates=config.candidates_per_level,
    )


class CxrFcosForObjectDetection(TorchvisionForObjectDetection):
    """The detector as transformers knows detectors."""

    config_class = CxrFcosConfig

    def __init__(self, config: CxrFcosConfig) -> None:
        super().__init__(config)
        self.model = fcos(config)
        self.post_init()


# The pipeline works with any class, and complains at length of one whose name is not in this table.
getattr(modeling_auto, "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES", {})[CxrFcosConfig.model_type] = (
    CxrFcosForObjectDetection.__name__
)
