"""A detector of any family and how images reach it; `models.detector_folder` keeps it.

What differs between families is in `models.families`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from cxrssl.core.images import Fit, Intensity
from cxrssl.models.families import Family, family_of
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.published.pyramid_cxr_rcnn import NUM_CHANNELS

Config: TypeAlias = PreTrainedConfig
Protocol = Literal["published", "described", "corrected"]


@dataclass(frozen=True)
class Detector:
    """A detector and how images reach it.

    Attributes:
        model: (images, targets) -> losses while training, images -> detections else.
        config: Its configuration.
        processor: Turns an image into its input, and its boxes back into pixels of the image.
    """

    model: nn.Module
    config: Config
    processor: CxrImageProcessor

    @property
    def family(self) -> Family:
        """The module of its family."""
        return family_of_config(self.config)

    @property
    def body(self) -> nn.Module:
        """The timm backbone inside."""
        return self.family.body(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of labels 1..K."""
        names: dict[int, str] = self.config.id2label
        return tuple(names[label] for label in sorted(names))

    @property
    def protocol(self) -> Protocol:
        """How the images it was trained on were split from those it is tested on."""
        protocol: Protocol = self.config.protocol
        return protocol

    @property
    def fit(self) -> Fit:
        """How an image is laid into its square."""
        fit: Fit = self.processor.fit  # type: ignore[assignment]
        return fit

    @property
    def intensity(self) -> Intensity:
        """How grey levels reach it."""
        processor = self.processor
        return Intensity(processor.equalize, processor.image_mean, processor.image_std)


def family_of_config(config: Config) -> Family:
    """Return the family that made a configuration."""
    family = family_of(config.model_type)
    assert family is not None
    return family


def build_detector(config: Config) -> nn.Module:
    """Return a detector with random weights, its frozen parts frozen.

    Raises:
        TransferError: If timm lacks the backbone, or it can't carry the detector.
    """
    return family_of_config(config).build(config)


def image_processor(
    config: Config, *, size_px: int, fit: Fit, intensity: Intensity
) -> CxrImageProcessor:
    """Return the processor that turns an image into a detector's input.

    Args:
        config: Configuration of the detector.
        size_px: Side of the stored images it was trained on.
        fit: How they were laid into the square.
        intensity: Their grey levels.
    """
    has_gate = getattr(config, "gate_power", None) is not None
    return CxrImageProcessor(
        size_px=size_px,
        fit=fit,
        equalize=intensity.equalize,
        image_mean=intensity.mean,
        image_std=intensity.std,
        do_normalize=not family_of_config(config).NORMALISES_INSIDE,
        # Faster R-CNN applies these itself, the first before its gate.
        score_threshold=0.0 if has_gate else config.score_threshold,
        findings_per_image=config.detections_per_image,
    )


def detector_input(images: list[Tensor]) -> list[Tensor]:
    """Turn grey images [1, H, W] uint8 into what a detector takes: [3, H, W] float in [0, 1]."""
    return [image.to(torch.float32).div(255).expand(NUM_CHANNELS, -1, -1) for image in images]
