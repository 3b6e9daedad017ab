"""transformers' RT-DETRv2 on a timm backbone, with the calls that torchvision's detectors have.

Shapes: B images, N boxes, S the side of the square the network sees.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection, TimmBackboneConfig

from cxrssl.core.errors import TrainingError, TransferError
from cxrssl.models.backbone import pyramid_body
from cxrssl.models.published.image_processing_cxr import strongest

_STRIDES = (8, 16, 32)
# What transformers adds to the name of a loss that an intermediate layer has as well.
_REPEATS = ("_aux_", "_dn_")
# What transformers' configuration calls as a recipe does, and what it just keeps.
_KEPT = (
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

    @property
    def body(self) -> nn.Module:
        """The timm backbone inside."""
        body: nn.Module = self.network.model.backbone.model._backbone
        return body

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
                {"class_labels": one["labels"] - 1, "boxes": _centres(one["boxes"] / side)}
                for one in targets
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
            # Boxes that are no numbers can't be matched with those drawn.
            with torch.no_grad():
                boxes = self.network(pixel_values=pixels).pred_boxes
            if bool(torch.isfinite(boxes).all()):
                raise
            raise TrainingError(
                "loss_bbox and loss_giou have no value: the boxes found are no numbers after the "
                "last step. Lower optim.peak_lr, or set clip_norm."
            ) from error
        return losses


def rtdetr_config(fields: Mapping[str, Any]) -> RTDetrV2Config:
    """Return transformers' configuration; what a recipe does not name is its default.

    Args:
        fields: Those of a recipe's `RtDetrSection`, and `id2label`, `label2id`, `protocol`,
            `size_px`, `image_mean` and `image_std`.

    Raises:
        TransferError: If the backbone has no maps [B, C, h, w] at strides 8, 16 and 32, or these
            have too few places for the queries.
    """
    check_side(fields["size_px"], num_queries=fields["num_queries"])
    backbone, width = fields["backbone"], fields["width"]
    body = pyramid_body(backbone, size_px=fields["size_px"])
    channels = list(body.feature_info.channels())  # type: ignore[union-attr, operator]
    if len(channels) < 4 or not str(getattr(body, "output_fmt", "NCHW")).endswith("NCHW"):
        raise TransferError(f"rtdetr_v2 needs a convolutional backbone, and {backbone} is none.")
    last = list(body.feature_info.out_indices)[-3:]  # type: ignore[union-attr, arg-type]
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
        **{name: fields[name] for name in _KEPT},
    )


def check_side(size_px: int, *, num_queries: int) -> None:
    """Check that an image of that side gives maps that fit together, and a place to every query.

    Raises:
        TransferError: If it does not.
    """
    sides = [math.ceil(size_px / stride) for stride in _STRIDES]
    places = sum(side * side for side in sides)
    if any(fine != 2 * coarse for fine, coarse in pairwise(sides)):
        raise TransferError(
            f"rtdetr_v2 halves an image of {size_px} px to maps of {sides} that do not double; "
            "choose a size_px that is a multiple of 32."
        )
    if num_queries > places:
        raise TransferError(
            f"rtdetr_v2 has {num_queries} queries, and an image of {size_px} px {places} places "
            "for them. Lower num_queries, or choose a larger size_px."
        )


def _centres(boxes: Tensor) -> Tensor:
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1)


def _by_kind(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add up the losses of all decoder layers, so that each kind is logged once."""
    found: dict[str, Tensor] = {}
    for name, loss in losses.items():
        kind = name
        for repeat in _REPEATS:
            kind = kind.split(repeat)[0]
        found[kind] = found[kind] + loss if kind in found else loss
    return found


def _detections(
    logits: Tensor, centres: Tensor, config: RTDetrV2Config, *, side: int
) -> dict[str, Tensor]:
    scores, labels, boxes = strongest(logits, centres)
    kept = (scores > config.score_threshold).nonzero().flatten()[: config.detections_per_image]
    inside = (boxes[kept] * side).clamp(0, side)
    return {"boxes": inside, "scores": scores[kept], "labels": labels[kept] + 1}
