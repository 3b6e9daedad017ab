"""RT-DETRv2: transformers' own on a timm backbone, with the calls of torchvision's detectors.

Shapes: B images, N boxes, S the side of the square the network sees.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    TimmBackboneConfig,
)

from cxrssl.core.errors import DataError, RunError, TrainingError, TransferError
from cxrssl.models.backbone import pyramid_body
from cxrssl.models.config_file import UNUSED_KEYS, backbone_name, check_keys
from cxrssl.models.published.image_processing_cxr import strongest
from cxrssl.models.ranges import (
    COUNT,
    FRACTION,
    MEAN,
    MOST_COUNT,
    MOST_LAYERS,
    MOST_QUERIES,
    PROTOCOL,
    STD,
    Rule,
    checked,
    integer,
    shown,
)
from cxrssl.models.untrusted_config import EXPECTED

TITLE = "RT-DETRv2"
MODEL_TYPE: str = RTDetrV2Config.model_type
ARCHITECTURE: str = RTDetrV2ForObjectDetection.__name__
AUTO_MAP: Mapping[str, str] = {}
KEY_PREFIX = ""
CLASS_LOSSES: tuple[str, ...] = ("loss_vfl",)
CLASS_KEYS: tuple[str, ...] = (
    "network.class_embed.",  # transformers' second name of the next
    "network.model.decoder.class_embed.",
    "network.model.enc_score_head.",
    "network.model.denoising_class_embed.",
)
NORMALISES_INSIDE = False
HAS_NMS = False

# Ranges of the keys of `config.json` that a recipe decides.
_RANGES: Mapping[str, Rule] = {
    "norm": Literal["frozen", "recalibrated", "bn"],
    "image_mean": MEAN,
    "image_std": STD,
    "d_model": integer(8, MOST_COUNT),
    "num_queries": integer(1, MOST_QUERIES),
    "encoder_layers": integer(1, MOST_LAYERS),
    "decoder_layers": integer(2, MOST_LAYERS),
    "num_denoising": integer(1, MOST_QUERIES),
    "score_threshold": FRACTION,
    "detections_per_image": COUNT,
    "protocol": PROTOCOL,
}
# Keys that transformers adds to a timm backbone's configuration, and keys that shape it.
_ADDED_TO_BACKBONE = ("stage_names", "out_features")
_SHAPING_BACKBONE = ("num_channels", "features_only", "freeze_batch_norm_2d", "output_stride")
_STRIDES = (8, 16, 32)
# Suffixes that transformers adds to the names of losses of intermediate layers.
_LAYER_SUFFIXES = ("_aux_", "_dn_")
# Keys that have the same name in transformers' configuration as in a recipe.
_SAME_NAMES = (
    *("num_queries", "encoder_layers", "decoder_layers", "num_denoising", "id2label", "label2id"),
    *("norm", "protocol", "image_mean", "image_std", "score_threshold", "detections_per_image"),
)


class RtDetr(nn.Module):
    """RT-DETRv2: while training (images, targets) -> losses, else images -> detections.

    Attributes:
        network: transformers' own model.
    """

    def __init__(self, config: RTDetrV2Config) -> None:
        super().__init__()
        self.network = RTDetrV2ForObjectDetection(config)

    def normalised(self, images: list[Tensor]) -> Tensor:
        """Return images [3, S, S] in [0, 1] as the network takes them, [B, 3, S, S]."""
        config = self.network.config
        pixels: Tensor = (torch.stack(images) - config.image_mean) / config.image_std
        return pixels

    def forward(
        self, images: list[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return losses, or detections of each image in its pixels, strongest first.

        Args:
            images: B of [3, S, S] in [0, 1].
            targets: `boxes` [N, 4] xyxy pixels and `labels` [N] in 1..K of each, while training.

        Source: RT-DETRv2, arXiv 2407.17140; the losses are transformers', its weights applied.
        """
        config = self.network.config
        pixels = self.normalised(images)
        side = pixels.shape[-1]
        if self.training:
            assert targets is not None  # as torchvision's detectors, it trains on targets
            labels = [
                {"class_labels": t["labels"] - 1, "boxes": _centres(t["boxes"] / side)}
                for t in targets
            ]
            losses = _by_kind(self._losses(pixels, labels))
            # Without a box in the batch nothing is made noisy, and processes would wait in vain
            # for the gradient of what makes it so.
            unused = self.network.model.denoising_class_embed.weight.sum() * 0
            return losses | {"loss_vfl": losses["loss_vfl"] + unused}
        outputs = self.network(pixel_values=pixels)
        return [
            _detections(logits, boxes, config, side=side)
            for logits, boxes in zip(outputs.logits, outputs.pred_boxes, strict=True)
        ]

    def _losses(self, pixels: Tensor, labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        try:
            losses: dict[str, Tensor] = self.network(pixel_values=pixels, labels=labels).loss_dict
        except ValueError as error:
            # Predicted boxes that are not finite can't be matched with true ones.
            with torch.no_grad():
                boxes = self.network(pixel_values=pixels).pred_boxes
            if bool(torch.isfinite(boxes).all()):
                raise
            raise TrainingError(
                "loss_bbox and loss_giou have no value: the predicted boxes are not finite after "
                "the last step. Lower optim.peak_lr, or set clip_norm."
            ) from error
        return losses


def config_of(
    fields: Mapping[str, Any],
    *,
    store_px: int,
    is_coco: bool,  # noqa: ARG001 - a recipe that says so is refused
) -> PreTrainedConfig:
    """See `Family`; what a recipe does not name is transformers' default.

    Raises:
        RunError: If images would have to be resized.
        TransferError: If the backbone has no maps [B, C, h, w] at strides 8, 16 and 32, or these
            have too few places for the queries.
    """
    if fields["size_px"] != store_px:
        raise RunError(
            f"size_px is {fields['size_px']} and the store's images have {store_px} px; "
            "rtdetr_v2 does not resize. Make them equal."
        )
    return _config(fields)


def _config(fields: Mapping[str, Any]) -> RTDetrV2Config:
    _check_side(fields["size_px"], num_queries=fields["num_queries"])
    backbone, width = fields["backbone"], fields["width"]
    maps = pyramid_body(backbone, size_px=fields["size_px"])
    channels = list(maps.feature_info.channels())  # type: ignore[union-attr, operator]
    if len(channels) < 4 or not str(getattr(maps, "output_fmt", "NCHW")).endswith("NCHW"):
        raise TransferError(f"rtdetr_v2 needs a convolutional backbone, and {backbone} is not.")
    last = list(maps.feature_info.out_indices)[-3:]  # type: ignore[union-attr, arg-type]
    return RTDetrV2Config(
        backbone_config=TimmBackboneConfig(
            backbone=backbone,
            out_indices=last,
            freeze_batch_norm_2d=fields["norm"] != "bn",
        ),
        # transformers' own way to freeze drops the activation that some of timm's norms hold.
        freeze_backbone_batch_norms=False,
        encoder_in_channels=channels[-3:],
        encoder_hidden_dim=width,
        encoder_ffn_dim=4 * width,
        d_model=width,
        decoder_in_channels=[width] * 3,
        decoder_ffn_dim=4 * width,
        **{name: fields[name] for name in _SAME_NAMES},
    )


def read_config(
    content: Mapping[str, Any], *, labels: Mapping[str, Any], size_px: int, file: str
) -> PreTrainedConfig:
    """See `Family`; the detector is one that a recipe makes, and the file may say nothing else."""
    fields = checked(content, _RANGES, file=file)
    backbone = content.get("backbone_config")
    if not isinstance(backbone, dict) or backbone.get("model_type") != "timm_backbone":
        raise DataError(f"{file} has no backbone of timm. {EXPECTED}")
    missing = sorted(_RANGES.keys() - fields.keys())
    if missing:
        raise DataError(f"{file} has no {', '.join(missing)}. {EXPECTED}")
    _check_side(size_px, num_queries=fields["num_queries"])
    name = backbone_name(backbone, file=file)
    with torch.device("meta"):
        # The processor's side and not the file's: a recipe has the side in one place.
        config = _config(
            {**fields, **labels, "backbone": name, "size_px": size_px, "width": fields["d_model"]}
        )
    _check_written(content, config.to_dict(), file=file)
    return config


def _check_written(content: Mapping[str, Any], written: Mapping[str, Any], *, file: str) -> None:
    """Check that a file agrees with the configuration written for the detector it describes.

    Args:
        content: Content of the file.
        written: The configuration of a recipe's detector that has the same numbers.
        file: Name of the file in messages.

    Raises:
        DataError: If it says something else, or has further keys.
    """
    backbone, expected_backbone = content["backbone_config"], written["backbone_config"]
    check_keys(content, (*written, *UNUSED_KEYS), file=file)
    check_keys(backbone, (*expected_backbone, *_ADDED_TO_BACKBONE), file=file)
    unchecked = {*_RANGES, *UNUSED_KEYS}
    differences = [
        f"{key} {shown(value)} (expected {shown(written[key])})"
        for key, value in content.items()
        if key in written and key not in unchecked and value != written[key]
    ]
    differences += [
        f"backbone_config.{key} {shown(backbone[key])} (expected {shown(expected_backbone[key])})"
        for key in _SHAPING_BACKBONE
        if key in backbone and backbone[key] != expected_backbone[key]
    ]
    if differences:
        version = shown(content.get("transformers_version"))
        raise DataError(
            f"{file}, of transformers {version}, says {'; '.join(differences[:3])}. {EXPECTED}"
        )


def build(config: PreTrainedConfig) -> nn.Module:
    """See `Family`."""
    return RtDetr(config)


def body(model: nn.Module) -> nn.Module:
    """See `Family`."""
    assert isinstance(model, RtDetr)
    backbone: nn.Module = model.network.model.backbone.model._backbone
    return backbone


def replace_body(model: nn.Module, body: nn.Module) -> None:
    """See `Family`."""
    assert isinstance(model, RtDetr)
    model.network.model.backbone.model._backbone = body


def body_input(model: nn.Module, images: list[Tensor]) -> Tensor:
    """See `Family`; images of one size are normalised, [B, 3, S, S]."""
    assert isinstance(model, RtDetr)
    return model.normalised(images)


def seed_samples(model: nn.Module, seeds: list[int]) -> None:
    """See `Family`; it draws no samples, and noisy queries are of torch's global generator."""


def num_samples(
    model: nn.Module,  # noqa: ARG001 - what is true counts, not what is sampled
    true_boxes: Sequence[Tensor],
) -> dict[str, Tensor]:
    """See `Family`."""
    boxes = torch.cat(list(true_boxes))
    count = torch.tensor(len(boxes), device=boxes.device)
    return dict.fromkeys(("loss_vfl", "loss_bbox", "loss_giou"), count)


def set_nms(
    model: nn.Module,  # noqa: ARG001 - none of this family does
    *,
    iou: float,
    most: int,  # noqa: ARG001
) -> None:
    """See `Family`; each query finds its own."""
    raise DataError(
        f"an NMS IoU of {iou:g} was asked for, and {TITLE} has no non-maximum suppression. Take a "
        "file of operating points that was made of this detector."
    )


def network(model: nn.Module) -> nn.Module:
    """See `Family`."""
    assert isinstance(model, RtDetr)
    part: nn.Module = model.network
    return part


def published_files() -> tuple[str, ...]:
    """See `Family`; transformers has the network itself."""
    return ()


def former_files() -> tuple[str, ...]:
    """See `Family`."""
    return ()


def _check_side(size_px: int, *, num_queries: int) -> None:
    """Check that an image of that side gives maps that fit together, and a place to every query.

    Raises:
        TransferError: If it does not.
    """
    sides = [math.ceil(size_px / stride) for stride in _STRIDES]
    num_positions = sum(side * side for side in sides)
    if any(fine != 2 * coarse for fine, coarse in pairwise(sides)):
        raise TransferError(
            f"rtdetr_v2 halves an image of {size_px} px to maps of {sides} that do not double; "
            "choose a size_px that is a multiple of 32."
        )
    if num_queries > num_positions:
        raise TransferError(
            f"rtdetr_v2 has {num_queries} queries, and an image of {size_px} px has "
            f"{num_positions} places for them. Lower num_queries, or choose a larger size_px."
        )


def _centres(boxes: Tensor) -> Tensor:
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=1)


def _by_kind(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up the losses of all decoder layers, so that each kind is logged once."""
    sums: dict[str, Tensor] = {}
    for name, loss in losses.items():
        kind = name
        for repeat in _LAYER_SUFFIXES:
            kind = kind.split(repeat)[0]
        sums[kind] = sums[kind] + loss if kind in sums else loss
    return sums


def _detections(
    logits: Tensor, centres: Tensor, config: RTDetrV2Config, *, side: int
) -> dict[str, Tensor]:
    scores, labels, boxes = strongest(logits, centres)
    rows = (scores > config.score_threshold).nonzero().flatten()[: config.detections_per_image]
    inside = (boxes[rows] * side).clamp(0, side)
    return {"boxes": inside, "scores": scores[rows], "labels": labels[rows] + 1}
