"""torchvision's Faster R-CNN on a timm backbone, and its form for transformers.

One of the files that travel with a published detector: it imports timm, torchvision and
transformers, no cxrssl. Shapes: B images, N boxes; boxes xyxy, labels 1..K in torchvision's part,
0..K-1 in transformers'.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_cxr_rcnn import CxrRcnnConfig
from .pyramid_cxr_rcnn import (
    TimmPyramid,
    freeze_norms,
    freeze_stages,
    pyramid_body,
    set_norm_eps,
    use_group_norms,
)
from .roi_align_cxr_rcnn import SparseMultiScaleRoIAlign

NUM_CHANNELS = 3
_ROI_SIDE, _ROI_SAMPLES = 7, 2
_LEVELS = ["0", "1", "2", "3"]


def faster_rcnn(config: CxrRcnnConfig) -> GeneralizedRCNN:
    """Return a detector with random weights, its frozen parts frozen.

    In the order of torchvision's own constructor, so that equal seeds give equal weights.

    Raises:
        ValueError: If the backbone can't carry a pyramid, or has no such stages.
    """
    body = pyramid_body(config.backbone, size_px=config.size_px)
    if config.norm in ("frozen", "recalibrated"):
        freeze_norms(body)
    elif config.norm == "gn":
        use_group_norms(body)
    if config.norm_eps is not None:
        set_norm_eps(body, config.norm_eps)
    freeze_stages(body, config.backbone, config.frozen_stages)
    pyramid = TimmPyramid(body, out_channels=config.fpn_channels)
    transform = GeneralizedRCNNTransform(
        config.size_px,
        config.size_px,
        [config.image_mean] * NUM_CHANNELS,
        [config.image_std] * NUM_CHANNELS,
    )
    return GeneralizedRCNN(pyramid, _proposals(config), _box_heads(config), transform)


def _proposals(config: CxrRcnnConfig) -> RegionProposalNetwork:
    sizes = tuple((side,) for side in config.anchor_sizes_px)
    anchors = AnchorGenerator(sizes, (tuple(config.anchor_ratios),) * len(sizes))
    kind = L1RegionProposals if config.box_loss == "l1" else RegionProposalNetwork
    proposals = kind(
        anchors,
        RPNHead(config.fpn_channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=config.rpn_foreground_iou,
        bg_iou_thresh=config.rpn_background_iou,
        batch_size_per_image=config.rpn_samples,
        positive_fraction=config.rpn_positive_share,
        pre_nms_top_n={"training": config.rpn_pre_nms_train, "testing": config.rpn_pre_nms_test},
        post_nms_top_n={"training": config.rpn_post_nms_train, "testing": config.rpn_post_nms_test},
        nms_thresh=config.rpn_nms_iou,
    )
    proposals.fg_bg_sampler = SeededSampler(config.rpn_samples, config.rpn_positive_share)
    return proposals


def _box_heads(config: CxrRcnnConfig) -> RoIHeads:
    align = SparseMultiScaleRoIAlign if config.roi_align == "sparse" else MultiScaleRoIAlign
    kind = L1RoIHeads if config.box_loss == "l1" else RoIHeads
    heads = kind(
        align(_LEVELS, output_size=_ROI_SIDE, sampling_ratio=_ROI_SAMPLES),
        TwoMLPHead(config.fpn_channels * _ROI_SIDE**2, config.head_features),
        FastRCNNPredictor(config.head_features, config.num_labels + 1),
        fg_iou_thresh=config.roi_foreground_iou,
        bg_iou_thresh=config.roi_background_iou,
        batch_size_per_image=config.roi_samples,
        positive_fraction=config.roi_positive_share,
        bbox_reg_weights=None,  # torchvision's 10, 10, 5, 5
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou,
        detections_per_img=config.detections_per_image,
    )
    heads.fg_bg_sampler = SeededSampler(config.roi_samples, config.roi_positive_share)
    return heads


class L1RegionProposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's, with the paper's plain L1 for boxes."""

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of objectness and that of boxes, over the sampled anchors."""
        masks = [torch.cat(kind).bool() for kind in self.fg_bg_sampler(labels)]
        positive, negative = (mask.nonzero().flatten() for mask in masks)
        sampled = torch.cat([positive, negative])
        wanted = torch.cat(regression_targets)[positive]
        offsets = functional.l1_loss(pred_bbox_deltas[positive], wanted, reduction="sum")
        scores = objectness.flatten()[sampled]
        found = functional.binary_cross_entropy_with_logits(scores, torch.cat(labels)[sampled])
        return found, offsets / sampled.numel()


class L1RoIHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's, with the paper's plain L1 for boxes."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections, or while training the two losses; see torchvision."""
        if not self.training:
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes, targets
            )
            return found
        proposals, _, labels, wanted = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, offsets = self.box_predictor(pooled)
        label = torch.cat(labels)
        positive = (label > 0).nonzero().flatten()
        own = offsets.reshape(len(label), -1, 4)[positive, label[positive]]
        distance = functional.l1_loss(own, torch.cat(wanted)[positive], reduction="sum")
        losses = {
            "loss_classifier": functional.cross_entropy(logits, label),
            "loss_box_reg": distance / label.numel(),
        }
        return [], losses


class SeededSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's choice of anchors or proposals, with draws that belong to the image.

    So a batch has the loss it would have on one process, however many share it. The draws come from
    torch's global generator, which is seeded anew before each image.

    Attributes:
        seeds: One an image of the batch that comes next; None draws on as torchvision does.
    """

    seeds: list[int] | None = None

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return masks of the positive and of the negative samples, one of each an image."""
        if self.seeds is None:
            found: tuple[list[Tensor], list[Tensor]] = super().__call__(matched_idxs)
            return found
        positive, negative = [], []
        for seed, matched in zip(self.seeds, matched_idxs, strict=True):
            torch.manual_seed(seed)
            first, second = super().__call__([matched])
            positive += first
            negative += second
        return positive, negative


@dataclass
class CxrRcnnOutput(ModelOutput):  # type: ignore[misc]
    """Losses, or detections padded to the longest list.

    Attributes:
        loss: Sum of the parts.
        loss_dict: The parts.
        pred_boxes: [B, N, 4] xyxy as shares of the input's width and height.
        scores: [B, N] in [0, 1], -1 where padded.
        pred_labels: [B, N] classes from 0.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    pred_boxes: Tensor | None = None
    scores: Tensor | None = None
    pred_labels: Tensor | None = None


class CxrRcnnForObjectDetection(PreTrainedModel):  # type: ignore[misc]
    """The detector as transformers knows detectors."""

    config_class = CxrRcnnConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: CxrRcnnConfig) -> None:
        super().__init__(config)
        self.model = faster_rcnn(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # transformers builds without memory; what timm keeps out of the weights is made anew here.
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()  # type: ignore[operator]

    def forward(
        self, pixel_values: Tensor, labels: list[dict[str, Tensor]] | None = None
    ) -> CxrRcnnOutput:
        """Detect, or with labels return the loss; the model must be training for that.

        Args:
            pixel_values: [B, 3, H, W] in [0, 1], from the image processor.
            labels: `boxes` [N, 4] xyxy input pixels and `class_labels` [N] from 0, one an image.
        """
        images = list(pixel_values)
        if labels is not None:
            targets = [{"boxes": x["boxes"], "labels": x["class_labels"] + 1} for x in labels]
            parts = self.model(images, targets)
            return CxrRcnnOutput(loss=sum(parts.values()), loss_dict=parts)
        found = self.model(images)
        height, width = pixel_values.shape[-2:]
        boxes = _padded([one["boxes"] for one in found], 0.0)
        return CxrRcnnOutput(
            pred_boxes=boxes / boxes.new_tensor([width, height, width, height]),
            scores=_padded([one["scores"] for one in found], -1.0),
            pred_labels=_padded([one["labels"] - 1 for one in found], 0),
        )


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
