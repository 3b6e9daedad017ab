"""Detectors of either family, built from a configuration; `models.detector_folder` keeps them.

Shapes: B images, C = 3 channels, H, W pixels; boxes xyxy pixels of the image, labels 1..K.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from transformers import RTDetrV2Config

from cxrssl.core.errors import TransferError
from cxrssl.core.images import Fit, Intensity
from cxrssl.models.backbone import check_known
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.published.modeling_cxr_rcnn import NUM_CHANNELS, faster_rcnn
from cxrssl.models.rtdetr import RtDetr
from cxrssl.models.sparse_roi_align import ChannelsLastPyramid, SparseMultiScaleRoIAlign

Config: TypeAlias = CxrRcnnConfig | RTDetrV2Config
Protocol = Literal["published", "described", "corrected"]


@dataclass(frozen=True)
class Detector:
    """A detector and how images reach it.

    Attributes:
        model: (images, targets) -> losses while training, images -> detections else.
        config: All that shapes it.
        processor: What turns a picture into its input, and its boxes back.
    """

    model: nn.Module
    config: Config
    processor: CxrImageProcessor

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of labels 1..K."""
        names: dict[int, str] = self.config.id2label
        return tuple(names[label] for label in sorted(names))

    @property
    def protocol(self) -> Protocol:
        """How the images it was trained on were split from those it is tested on."""
        protocol: Protocol = self.config.protocol  # type: ignore[assignment]
        return protocol

    @property
    def fit(self) -> Fit:
        """How an image is laid into its square."""
        fit: Fit = self.processor.fit  # type: ignore[assignment]
        return fit

    @property
    def intensity(self) -> Intensity:
        """How grey levels reach it."""
        own = self.processor
        return Intensity(own.equalize, own.image_mean, own.image_std)

    def seed_samples(self, seeds: list[int]) -> None:
        """Let the samples of the next batch's images be functions of these seeds, one an image.

        RT-DETRv2 draws none; its noisy queries come from torch's global generator.
        """
        if isinstance(self.model, GeneralizedRCNN):
            self.model.rpn.fg_bg_sampler.seeds = seeds
            self.model.roi_heads.fg_bg_sampler.seeds = [seed + 1 for seed in seeds]


def num_samples(model: nn.Module, true_boxes: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return over how many things each loss of the last batch is a mean, by name of the loss.

    Args:
        model: A detector of either family.
        true_boxes: [N, 4] of each image that it was trained on.
    """
    if isinstance(model, GeneralizedRCNN):
        rpn, roi = model.rpn.fg_bg_sampler.num_samples, model.roi_heads.fg_bg_sampler.num_samples
        first = dict.fromkeys(("loss_objectness", "loss_rpn_box_reg"), rpn)
        return first | dict.fromkeys(("loss_classifier", "loss_box_reg"), roi)
    boxes = torch.cat(list(true_boxes))
    count = torch.tensor(len(boxes), device=boxes.device)
    return dict.fromkeys(("loss_vfl", "loss_bbox", "loss_giou"), count)


def body_of(model: nn.Module) -> nn.Module:
    """Return the timm backbone inside a detector of either family."""
    if isinstance(model, RtDetr):
        return model.body
    assert isinstance(model, GeneralizedRCNN)
    body: nn.Module = model.backbone.body
    return body


def replace_body(model: nn.Module, body: nn.Module) -> None:
    """Put another body, with the same maps, into a Faster R-CNN."""
    assert isinstance(model, GeneralizedRCNN)
    model.backbone.body = body


def body_input(model: nn.Module, images: list[Tensor]) -> Tensor:
    """Return images [3, H, W] in [0, 1] as they reach the body of a detector, [B, 3, H, W]."""
    if isinstance(model, RtDetr):
        return model.normalised(images)
    pixels: Tensor = model.transform(images)[0].tensors  # type: ignore[operator]
    return pixels


def rcnn_config(fields: Mapping[str, object], *, norm_eps: float | None) -> CxrRcnnConfig:
    """Return the configuration of a Faster R-CNN.

    Args:
        fields: All of `CxrRcnnConfig` but the next one.
        norm_eps: Of the body's norms, None for timm's.
    """
    return CxrRcnnConfig(**fields, norm_eps=norm_eps)


def build_detector(config: Config) -> nn.Module:
    """Return a detector with random weights, its frozen parts frozen.

    Raises:
        TransferError: If there is no such backbone, or it can't carry the detector.
    """
    if isinstance(config, RTDetrV2Config):
        return RtDetr(config)
    check_known(config.backbone)
    try:
        model: nn.Module = (
            faster_rcnn(config, pyramid=ChannelsLastPyramid, roi_align=SparseMultiScaleRoIAlign)
            if config.roi_align == "sparse"
            else faster_rcnn(config)
        )
    except ValueError as error:
        raise TransferError(f"{str(error).rstrip('.')}.") from error
    return model


def image_processor(
    config: Config, *, size_px: int, fit: Fit, intensity: Intensity
) -> CxrImageProcessor:
    """Return what turns a picture into a detector's input.

    Args:
        config: The detector's.
        size_px: Side of the stored images it was trained on.
        fit: How they were laid into the square.
        intensity: Their grey levels.
    """
    return CxrImageProcessor(
        size_px=size_px,
        fit=fit,
        equalize=intensity.equalize,
        image_mean=intensity.mean,
        image_std=intensity.std,
        # Faster R-CNN normalises inside, as torchvision's does.
        do_normalize=isinstance(config, RTDetrV2Config),
        # Faster R-CNN has seen to them itself.
        score_threshold=config.score_threshold,
        findings_per_image=config.detections_per_image,
    )


def detector_input(images: list[Tensor]) -> list[Tensor]:
    """Turn grey images [1, H, W] uint8 into what a detector takes: [3, H, W] float in [0, 1]."""
    return [image.to(torch.float32).div(255).expand(NUM_CHANNELS, -1, -1) for image in images]
