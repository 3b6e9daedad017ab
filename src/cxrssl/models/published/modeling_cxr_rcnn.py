"""torchvision's Faster R-CNN on a timm backbone, and its form for transformers.

One of the files that travel with a published detector: it imports timm, torchvision and
transformers, no cxrssl. Shapes: B images, N boxes; boxes xyxy, labels 1..K in torchvision's part,
0..K-1 in transformers'.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_cxr_rcnn import CxrRcnnConfig
from .heads_cxr_rcnn import (
    FullPrecisionPredictor,
    FullPrecisionRpnHead,
    L1RegionProposals,
    L1RoIHeads,
    SeededSampler,
)
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
        FullPrecisionRpnHead(config.fpn_channels, anchors.num_anchors_per_location()[0]),
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
        FullPrecisionPredictor(config.head_features, config.num_labels + 1),
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
