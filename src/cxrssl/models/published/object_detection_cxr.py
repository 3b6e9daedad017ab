"""A torchvision detector in the form that transformers knows detectors in.

One of the files that travel with a published detector: it imports torch and transformers, no
cxrssl. Shapes: B images, N boxes; boxes xyxy, labels 1..K in torchvision's part, 0..K-1 in
transformers'.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class DetectionOutput(ModelOutput):  # type: ignore[misc]
    """Losses, or detections padded to the longest list.

    Attributes:
        loss: Sum of the parts.
        loss_dict: The parts.
        pred_boxes: [B, N, 4] xyxy as shares of the input's width and height.
        scores: [B, N] in [0, 1], -1 where padded.
        pred_labels: [B, N] classes from 0.
        finding_probability: [B] in [0, 1], of each image; None without an image-level gate, which
            has changed the scores already.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    pred_boxes: Tensor | None = None
    scores: Tensor | None = None
    pred_labels: Tensor | None = None
    finding_probability: Tensor | None = None


class TorchvisionForObjectDetection(PreTrainedModel):  # type: ignore[misc]
    """A detector of torchvision's as transformers knows detectors.

    A class of it names its configuration, and builds `model` from one.

    Attributes:
        model: (images, targets) -> losses while training, images -> detections else.
    """

    main_input_name = "pixel_values"
    input_modalities = ("image",)
    model: nn.Module

    def _init_weights(self, module: nn.Module) -> None:
        # transformers builds without memory; what timm keeps out of the weights is made anew here.
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()  # type: ignore[operator]

    def forward(
        self, pixel_values: Tensor, labels: list[dict[str, Tensor]] | None = None
    ) -> DetectionOutput:
        """Detect, or with labels return the loss; the model must be training for that.

        Args:
            pixel_values: [B, 3, H, W] in [0, 1], from the image processor.
            labels: `boxes` [N, 4] xyxy input pixels and `class_labels` [N] from 0, one an image.
        """
        images = list(pixel_values)
        if labels is not None:
            targets = [{"boxes": x["boxes"], "labels": x["class_labels"] + 1} for x in labels]
            parts = self.model(images, targets)
            return DetectionOutput(loss=sum(parts.values()), loss_dict=parts)
        detections = self.model(images)
        height, width = pixel_values.shape[-2:]
        boxes = _padded([image["boxes"] for image in detections], 0.0)
        has_gate = getattr(self.config, "gate_power", None) is not None
        return DetectionOutput(
            pred_boxes=boxes / boxes.new_tensor([width, height, width, height]),
            scores=_padded([image["scores"] for image in detections], -1.0),
            pred_labels=_padded([image["labels"] - 1 for image in detections], 0),
            finding_probability=(
                torch.stack([image["finding_probability"] for image in detections])
                if has_gate
                else None
            ),
        )


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
