"""torchvision's Faster R-CNN around a timm backbone through a feature pyramid.

Shapes: B images, C = 3 channels, H, W pixels; boxes xyxy pixels of the image, labels 1..K.
"""

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cxrssl.core.errors import DataError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.images import Intensity
from cxrssl.models.backbone import NUM_CHANNELS, body_channels, freeze_batch_norm, pyramid_body

Norm = Literal["bn", "frozen"]
_ROI_SIDE = 7


@dataclass(frozen=True)
class DetectorSettings:
    """All that shapes a detector; written beside its weights.

    Attributes:
        backbone: timm architecture.
        classes: Names of labels 1..K.
        protocol: How the images it was trained on were split from those it is tested on.
        size_px: Side to which an image is resized inside the detector.
        intensity: How grey levels reach it.
        norm: `bn` trains BatchNorm with the batch's statistics, `frozen` keeps those loaded.
        fpn_channels: Channels of every pyramid level.
        head_features: Width of the box head.
        anchor_sizes_px: One side for each of the five levels.
        rpn_proposals: Proposals an image after NMS.
        rpn_samples: Anchors an image in the RPN's loss.
        roi_samples: Proposals an image in the box head's loss.
        score_threshold: Least score of a detection.
        nms_iou: Overlap above which the weaker of two detections of a class goes.
        detections_per_image: At most so many.
    """

    backbone: str
    classes: tuple[str, ...]
    protocol: Literal["published", "described", "corrected"]
    size_px: int
    intensity: Intensity
    norm: Norm
    fpn_channels: int
    head_features: int
    anchor_sizes_px: tuple[int, int, int, int, int]
    rpn_proposals: int
    rpn_samples: int
    roi_samples: int
    score_threshold: float
    nms_iou: float
    detections_per_image: int


class TimmPyramid(nn.Module):
    """A timm body and an FPN, under the names torchvision's own model has: `body`, `fpn`."""

    def __init__(self, architecture: str, *, out_channels: int) -> None:
        super().__init__()
        self.body = pyramid_body(architecture)
        self.fpn = FeaturePyramidNetwork(
            body_channels(self.body), out_channels, extra_blocks=LastLevelMaxPool()
        )
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return maps at strides 4, 8, 16, 32 and 64 of images [B, C, H, W]."""
        maps = OrderedDict((str(level), x) for level, x in enumerate(self.body(images)))
        pyramid: OrderedDict[str, Tensor] = self.fpn(maps)
        return pyramid


def build_detector(settings: DetectorSettings) -> FasterRCNN:
    """Return a detector with random weights; `norm` is applied later, by `settle_norm`."""
    pyramid = TimmPyramid(settings.backbone, out_channels=settings.fpn_channels)
    sizes = tuple((side,) for side in settings.anchor_sizes_px)
    levels = ["0", "1", "2", "3"]
    return FasterRCNN(
        pyramid,
        min_size=settings.size_px,
        max_size=settings.size_px,
        image_mean=[settings.intensity.mean] * NUM_CHANNELS,
        image_std=[settings.intensity.std] * NUM_CHANNELS,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        rpn_pre_nms_top_n_train=2 * settings.rpn_proposals,
        rpn_pre_nms_top_n_test=2 * settings.rpn_proposals,
        rpn_post_nms_top_n_train=settings.rpn_proposals,
        rpn_post_nms_top_n_test=settings.rpn_proposals,
        rpn_batch_size_per_image=settings.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=_ROI_SIDE, sampling_ratio=2),
        box_head=TwoMLPHead(settings.fpn_channels * _ROI_SIDE**2, settings.head_features),
        box_predictor=FastRCNNPredictor(settings.head_features, len(settings.classes) + 1),
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=settings.score_threshold,
        box_nms_thresh=settings.nms_iou,
        box_detections_per_img=settings.detections_per_image,
    )


def settle_norm(detector: FasterRCNN, norm: Norm) -> None:
    """Freeze the body's BatchNorm, or leave it; call it after weights are loaded, never before.

    A frozen norm has no `num_batches_tracked`, so a strict load into it could not work.
    """
    if norm == "frozen":
        freeze_batch_norm(detector.backbone.body)


def detector_input(images: list[Tensor]) -> list[Tensor]:
    """Turn grey images [1, H, W] uint8 into what the detector takes: [3, H, W] float in [0, 1]."""
    return [(image.float() / 255).expand(NUM_CHANNELS, -1, -1) for image in images]


def save_detector(detector: FasterRCNN, settings: DetectorSettings, folder: Path) -> None:
    """Write a detector as `config.json` and `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in detector.state_dict().items()}
    with replacing(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    write_json(folder / "config.json", asdict(settings))


def load_detector(folder: Path) -> tuple[FasterRCNN, DetectorSettings]:
    """Read a detector folder, strictly.

    Raises:
        DataError: If the folder is no detector.
    """
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    missing = [path.name for path in (config_file, weights_file) if not path.is_file()]
    if missing:
        raise DataError(
            f"{folder} is no detector: {' and '.join(missing)} missing. Expected the detector/ "
            "folder of a finished `cxrssl finetune` run."
        )
    content = json.loads(config_file.read_text())
    try:
        content["intensity"] = Intensity(**content["intensity"])
        content["classes"] = tuple(content["classes"])
        content["anchor_sizes_px"] = tuple(content["anchor_sizes_px"])
        settings = DetectorSettings(**content)
    except (KeyError, TypeError) as error:
        raise DataError(f"{config_file} does not describe a cxrssl detector: {error}") from error
    detector = build_detector(settings)
    settle_norm(detector, settings.norm)
    detector.load_state_dict(load_file(weights_file), strict=True)
    return detector, settings
