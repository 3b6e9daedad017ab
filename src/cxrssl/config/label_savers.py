"""Sections of a fine-tuning recipe that may save labels; each is null for none of it.

`data.cuts.augmentation`, `data.paste` and `finetune.teacher` say what they do, and their sources.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cxrssl.config.section import MOST, Fraction, Probability, Section
from cxrssl.data.cuts.augmentation import AugmentRanges, CutoutRanges
from cxrssl.data.cuts.paste import PasteRanges

Multiple = Annotated[float, Field(ge=0.1, le=10)]
Positive = Annotated[float, Field(gt=0, le=100)]
NotNegative = Annotated[float, Field(ge=0, le=100)]
Degrees = Annotated[float, Field(ge=0, le=45)]


def _check_rises(section: Section, *names: str) -> None:
    for name in names:
        low, high = getattr(section, name)
        if low > high:
            raise ValueError(f"{name} must be [least, largest], got [{low}, {high}]")


class CutoutSection(Section):
    """Squares of an image that are made grey."""

    most: int = Field(ge=1, le=100)
    """So many an image, or fewer."""
    side: tuple[Fraction, Fraction]
    """Least and largest side, as a share of the image's. No more than a third of a box is cut."""

    @model_validator(mode="after")
    def _range_rises(self) -> "CutoutSection":
        _check_rises(self, "side")
        return self


class AugmentSection(Section):
    """Random changes of a training image and its boxes, on top of `data.flip_probability`."""

    scale: tuple[Multiple, Multiple]
    """Least and largest size, as a multiple of the image's own."""
    shift: Probability
    """Largest shift along each side, as a share of the side."""
    rotation_degrees: Degrees
    """Largest turn to either side; a box becomes the upright one around its turned corners."""
    gamma: tuple[Positive, Positive]
    """Exponent of the grey levels as shares of white; its logarithm is uniform."""
    contrast: tuple[NotNegative, NotNegative]
    """Multiple of the difference from the image's mean."""
    brightness: tuple[Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)]]
    """Added to the grey levels, as a share of white."""
    blur_sigma_px: tuple[NotNegative, NotNegative]
    noise_share: tuple[NotNegative, NotNegative]
    """Sigma of the noise, as a share of the image's mean level."""
    cutout: CutoutSection | None

    @model_validator(mode="after")
    def _ranges_rise(self) -> "AugmentSection":
        names = ("scale", "gamma", "contrast", "brightness", "blur_sigma_px", "noise_share")
        _check_rises(self, *names)
        return self

    @property
    def ranges(self) -> AugmentRanges:
        """What is drawn for an image."""
        cutout = None if self.cutout is None else CutoutRanges(**self.cutout.model_dump())
        return AugmentRanges(**self.model_dump(exclude={"cutout"}), cutout=cutout)


class PasteSection(Section):
    """Small findings of the labelled images, copied and pasted into training images."""

    largest_side: Fraction
    """A finding is small if neither side is longer than this share of the image's."""
    repeats: Annotated[float, Field(ge=1, le=100)]
    """How often an epoch has an image with a small finding."""
    probability: Probability
    """Of pasting something into an image."""
    most: int = Field(ge=1, le=100)
    """So many findings an image, or fewer where there is no free place."""
    scale: tuple[Multiple, Multiple]
    """Least and largest size, as a multiple of the finding's own."""
    rotation_degrees: Degrees
    """Largest turn to either side."""
    within: tuple[str, ...]
    """Classes in whose boxes findings are pasted, such as the lungs; where an image has none of
    them, and if none is named, it is the middle 80 % of the image."""

    @model_validator(mode="after")
    def _range_rises(self) -> "PasteSection":
        _check_rises(self, "scale")
        return self

    @property
    def ranges(self) -> PasteRanges:
        """What is drawn for an image."""
        return PasteRanges(self.probability, self.most, self.scale, self.rotation_degrees)


class EmaSection(Section):
    """A moving average of the weights, which is what is scored and kept."""

    decay: Annotated[float, Field(ge=0, lt=1)]
    """Share of the average that a step leaves; at most (1 + t) / (10 + t) after t steps."""


class UnlabelledSection(Section):
    """Images without labels, on which the average of the weights is the teacher (`ema`)."""

    store: Path | None
    """Their store; null for the training images of `data.store` whose labels are not seen."""
    batch_size: int = Field(ge=1, le=MOST)
    """Images without labels in a step, over all processes, on top of the labelled ones."""
    burn_in_steps: int = Field(ge=0)
    """Steps on labelled images alone, before the teacher begins."""
    threshold: Probability
    """Least score of a box of the teacher's that counts as true."""
    weight: NotNegative
    """Of their losses."""
    ramp_steps: int = Field(ge=0)
    """Steps after `burn_in_steps` in which the weight grows from 0, evenly."""
    relation_weight: NotNegative
    """Of relation consistency; 0 for none."""
    known_normals: bool
    """Whether images that readers found to be without findings are known to be so: no box of the
    teacher's counts on them, and all of them is background."""
    pseudo_boxes: Literal["teacher", "shuffled"]
    """`shuffled` is a control: each image gets the boxes of the next one of its batch."""

    @model_validator(mode="after")
    def _has_others_to_shuffle(self) -> "UnlabelledSection":
        if self.pseudo_boxes == "shuffled" and self.batch_size < 2:
            raise ValueError("pseudo_boxes: shuffled needs a batch_size of two or more")
        return self
