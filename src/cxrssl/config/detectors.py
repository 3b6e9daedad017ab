"""The sections `model` and `init` of a fine-tuning recipe.

models/published/configuration_cxr_rcnn.py explains the fields of Faster R-CNN, and
configuration_cxr_fcos.py beside it those of FCOS.
"""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cxrssl.config.section import (
    NO_PUBLISHED_WEIGHTS,
    Fraction,
    Probability,
    Section,
    WeightsPath,
)
from cxrssl.models.ranges import (
    MOST_COUNT,
    MOST_LAYERS,
    MOST_QUERIES,
    MOST_RADIUS,
    MOST_RATIO,
    MOST_RATIOS,
    MOST_SIDE_PX,
)

SidePx = Annotated[int, Field(gt=0, le=MOST_SIDE_PX)]
Count = Annotated[int, Field(gt=0, le=MOST_COUNT)]
Layers = Annotated[int, Field(gt=0, le=MOST_LAYERS)]
Queries = Annotated[int, Field(gt=0, le=MOST_QUERIES)]
Ratio = Annotated[float, Field(ge=1 / MOST_RATIO, le=MOST_RATIO)]
Overlap = Annotated[float, Field(gt=0, lt=1)]


class FasterRcnnSection(Section):
    """torchvision's Faster R-CNN on a timm backbone."""

    takes_coco: ClassVar[bool] = True
    """Whether `init.start: coco`, torchvision's detector, is of this family."""
    takes_gate: ClassVar[bool] = True
    """Whether an image-level gate travels with this family."""
    family: Literal["faster_rcnn"]
    backbone: str
    """timm architecture."""
    norm: Literal["frozen", "recalibrated", "bn", "sync", "gn"]
    """Kind of the backbone's norms; `sync` needs GPUs."""
    frozen_stages: int = Field(ge=0, le=MOST_LAYERS)
    """Backbone stages that are not trained: 1 is the stem, 2 the first stage as well."""
    fpn_channels: Count
    head_features: Count
    anchor_sizes_px: tuple[SidePx, SidePx, SidePx, SidePx, SidePx]
    """One a level, in pixels of `size_px`."""
    anchor_ratios: tuple[Ratio, ...] = Field(min_length=1, max_length=MOST_RATIOS)
    """Height by width."""
    box_loss: Literal["l1", "smooth_l1"]
    rpn_pre_nms_train: Count
    rpn_pre_nms_test: Count
    rpn_post_nms_train: Count
    rpn_post_nms_test: Count
    rpn_nms_iou: Overlap
    rpn_foreground_iou: Overlap
    rpn_background_iou: Overlap
    rpn_samples: Count
    rpn_positive_share: Fraction
    roi_foreground_iou: Overlap
    roi_background_iou: Overlap
    roi_samples: Count
    roi_positive_share: Fraction
    roi_align: Literal["torchvision", "sparse"]
    """`sparse` is faster on CPUs and differs in the fifth digit; on GPUs both are torchvision's."""
    score_threshold: Probability
    nms_iou: Probability
    detections_per_image: Count

    @model_validator(mode="after")
    def _overlaps_rise(self) -> "FasterRcnnSection":
        for part in ("rpn", "roi"):
            low = getattr(self, f"{part}_background_iou")
            high = getattr(self, f"{part}_foreground_iou")
            if low > high:
                raise ValueError(
                    f"{part}_background_iou {low} is above {part}_foreground_iou {high}"
                )
        return self


class RtDetrSection(Section):
    """transformers' RT-DETRv2 on a convolutional timm backbone."""

    takes_coco: ClassVar[bool] = False
    takes_gate: ClassVar[bool] = False
    frozen_stages: ClassVar[int] = 0
    family: Literal["rtdetr_v2"]
    backbone: str
    norm: Literal["frozen", "recalibrated", "bn"]
    width: Annotated[int, Field(gt=0, le=MOST_COUNT, multiple_of=8)]
    """Channels of encoder and decoder; they have eight heads."""
    num_queries: Queries
    encoder_layers: Layers
    decoder_layers: int = Field(ge=2, le=MOST_LAYERS)
    num_denoising: Queries
    """Queries made of noisy true boxes, while training."""
    score_threshold: Probability
    detections_per_image: Count


class FcosSection(Section):
    """torchvision's FCOS, a detector of one stage, on a timm backbone."""

    takes_coco: ClassVar[bool] = False
    """torchvision's COCO FCOS has levels at strides 8 to 128, and these are at 4 to 64."""
    takes_gate: ClassVar[bool] = False
    family: Literal["fcos"]
    backbone: str
    """timm architecture."""
    norm: Literal["frozen", "recalibrated", "bn", "sync", "gn"]
    """Kind of the backbone's norms; `sync` needs GPUs."""
    frozen_stages: int = Field(ge=0, le=MOST_LAYERS)
    """Backbone stages that are not trained: 1 is the stem, 2 the first stage as well."""
    fpn_channels: Annotated[int, Field(gt=0, le=MOST_COUNT, multiple_of=8)]
    """Of the pyramid and of the heads, whose norms have groups of eight."""
    head_layers: Layers
    anchor_sizes_px: tuple[SidePx, SidePx, SidePx, SidePx, SidePx]
    """One a level, in pixels of `size_px`; a level takes boxes whose farthest side is 4 to 8 times
    that away."""
    center_radius: float = Field(gt=0, le=MOST_RADIUS)
    candidates_per_level: Count
    score_threshold: Probability
    nms_iou: Probability
    detections_per_image: Count

    @model_validator(mode="after")
    def _levels_leave_no_gap(self) -> "FcosSection":
        for side in self.anchor_sizes_px:
            if side % 2:
                raise ValueError(
                    f"anchor_sizes_px has {side}; expected even numbers, for torchvision rounds "
                    "their halves"
                )
        for low, high in pairwise(self.anchor_sizes_px):
            if high <= low:
                raise ValueError(f"anchor_sizes_px has {low} and then {high}; expected a rise")
            if high > 2 * low:
                raise ValueError(
                    f"anchor_sizes_px has {low} and then {high}, and no level would take a box "
                    f"whose farthest side is between {8 * low} and {4 * high} px away; expected at "
                    "most twice as much"
                )
        return self


DetectorSection = Annotated[
    FasterRcnnSection | RtDetrSection | FcosSection, Field(discriminator="family")
]


class InitSection(Section):
    """Initial weights of the detector."""

    start: Literal["random", "imagenet", "published", "coco", "mean_var"]
    """`imagenet` fills the body, and so does `published` with weights that are not ImageNet's, such
    as a foundation model's; `coco` fills the whole detector but the prediction of classes; with
    `mean_var` the body is random, each tensor with the mean and variance of ImageNet's, of those in
    `weights`, or of those of `backbone` (see models/partial_start.py)."""
    weights: WeightsPath | None
    """File for `imagenet`, `published`, `mean_var` and `coco`, or hf-hub:ORG/NAME@REVISION; null
    for timm's and torchvision's own, which `published` has not."""
    backbone: WeightsPath | None
    """backbone/ folder of a pretraining run, or hf-hub:ORG/NAME@REVISION, put on top of `start`;
    null for the control."""
    keep_stages: Annotated[int, Field(ge=0, le=MOST_LAYERS)] | None = None
    """Stages of the body that keep the weights they were given, counted as `frozen_stages`; those
    above are random, or drawn where `start` is `mean_var`. Null keeps all."""

    @property
    def is_partial(self) -> bool:
        """Whether tensors of the body are replaced after the weights have arrived."""
        return self.start == "mean_var" or self.keep_stages is not None

    @property
    def random_part(self) -> str:
        """The fields that leave norms without statistics, for messages."""
        if self.keep_stages is not None:
            return f"a stage above init.keep_stages: {self.keep_stages}"
        return f"init.start: {self.start}{'' if self.is_partial else ' without init.backbone'}"

    @property
    def stages_with_statistics(self) -> int | None:
        """How many first stages have norms that have seen images; None for all."""
        if self.is_partial:
            return self.keep_stages or 0
        return 0 if self.start == "random" and self.backbone is None else None

    @model_validator(mode="after")
    def _weights_fit_the_start(self) -> "InitSection":
        if self.start == "random" and self.weights is not None:
            raise ValueError(f"start: random takes no weights, got {self.weights}")
        if self.start == "published" and self.weights is None:
            raise ValueError(NO_PUBLISHED_WEIGHTS)
        if self.start == "mean_var" and None not in (self.weights, self.backbone):
            raise ValueError(
                f"start: mean_var has one source, got weights {self.weights} and backbone "
                f"{self.backbone}. Set one of them to null"
            )
        return self

    @model_validator(mode="after")
    def _stages_can_be_kept(self) -> "InitSection":
        if self.keep_stages is None:
            return self
        if self.start == "coco":
            raise ValueError(
                f"keep_stages: {self.keep_stages} is of a body, and start: coco fills the pyramid "
                "and the heads as well. Start from imagenet, or set keep_stages to null"
            )
        if self.start == "random" and self.backbone is None:
            raise ValueError(
                f"keep_stages: {self.keep_stages} has nothing to keep: start: random without "
                "backbone. Name a start, or set keep_stages to null"
            )
        return self
