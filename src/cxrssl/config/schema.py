"""What a recipe may say; `config.plan` has what a plan may.

Whatever changes a number has no default: the recipe states it. A field carries its unit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from cxrssl.config.body import BodySection
from cxrssl.config.detectors import DetectorSection, InitSection, SidePx
from cxrssl.config.gate import GateSection
from cxrssl.config.label_savers import (
    AugmentSection,
    EmaSection,
    PasteSection,
    UnlabelledSection,
)
from cxrssl.config.methods import MethodSection
from cxrssl.config.moved import MOVED
from cxrssl.config.section import MOST, Fraction, Probability, Section
from cxrssl.core.images import Intensity
from cxrssl.data.cuts.two_views import ViewRanges
from cxrssl.data.fusion import POLICY
from cxrssl.models.ranges import LEAST_STD, MOST_SIDE_PX, MOST_STD

Range = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]


class DataSection(Section):
    """Which images."""

    store: Path
    """Folder that `cxrssl ingest` wrote."""
    protocol: Literal["published", "described", "corrected"]
    """How images are split; see data/protocol.py."""
    normals: bool
    """Whether images without findings take part; the paper leaves them out."""
    label_order: Literal["table", "seeded"] | None = None
    """Which images a fraction of the labels selects: the last of the table, or a seeded draw; null
    is the rule of the protocol."""

    @model_validator(mode="after")
    def _protocol_knows_normals(self) -> "DataSection":
        if self.normals and self.protocol != "corrected":
            raise ValueError(f"normals: protocol {self.protocol} leaves them out; set it to false")
        return self


Fusion = Annotated[str, Field(pattern=f"^({POLICY})$")]


class PairedSection(Section):
    """Images of the fine-tuning that a pretraining is for."""

    normals: bool
    label_order: Literal["table", "seeded"] | None
    fusion: Fusion


class PoolSection(DataSection):
    """Images for pretraining."""

    pool_fraction: Fraction
    """Fraction of the training images whose labels are hidden; 1 is all of them. The pool is the
    training images without those whose labels a fine-tuning sees that has the rest."""
    unread: bool = False
    """Whether images that nobody is known to have read take part too; never those of a patient with
    validation or test images."""
    finetuning: PairedSection | None = None
    """The fields of that fine-tuning, if they differ from those of this section."""
    num_workers: int = Field(default=0, ge=0)


class LabelSection(DataSection):
    """Images for fine-tuning."""

    label_fraction: Fraction
    """Fraction of the training images whose labels are used."""
    fusion: Fusion
    """How readers' boxes become one set: consensus, wbf, union, majority:K or single:READER."""
    consensus_iou: Annotated[float, Field(gt=0, lt=1)]
    """Overlap above which readers' boxes of one class are one finding."""
    oversample_threshold: Annotated[float, Field(gt=0, le=1)] | None
    """Repeat-factor sampling, or null for none."""
    oversample_rounding: Literal["stochastic", "ceil"]
    """How a factor becomes a number of visits: at random by its fraction, or up (the paper's)."""
    flip_probability: Probability
    num_workers: int = Field(default=0, ge=0)


class IntensitySection(Section):
    """Grey levels; must be the same in both phases."""

    equalize: bool
    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(ge=LEAST_STD, le=MOST_STD)]

    @property
    def treatment(self) -> Intensity:
        """The object that treats images so."""
        return Intensity(self.equalize, self.mean, self.std)


def _is_reciprocal(fraction: float) -> bool:
    """Return whether a fraction is 1 / n, to the digits that a recipe writes."""
    return fraction > 0 and abs(fraction * round(1 / fraction) - 1) < 1e-4


class ViewSection(Section):
    """Random views for pretraining."""

    size_px: SidePx
    crop_area: tuple[Fraction, Fraction]
    crop_aspect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    flip_probability: Probability
    blur_sigma_px: Range
    blur_kernel_px: int = Field(ge=1, le=MOST_SIDE_PX)
    noise_share: Range
    noise_draw: Literal["uniform", "divisor"]
    """Whether `noise_share` is uniform (the paper's text) or one over a whole number (its code)."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> "ViewSection":
        for name in ("crop_area", "crop_aspect", "blur_sigma_px", "noise_share"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [least, largest], got [{low}, {high}]")
        least, widest = self.crop_area[0], self._largest_area()
        if least > widest:
            raise ValueError(
                f"crop_area begins at {least:g}, and of crop_aspect {list(self.crop_aspect)} no "
                f"crop above {widest:.3g} of an image fits into it"
            )
        if self.blur_kernel_px % 2 == 0:
            raise ValueError(f"blur_kernel_px must be odd, got {self.blur_kernel_px}")
        if self.noise_draw == "divisor" and not all(map(_is_reciprocal, self.noise_share)):
            shares = list(self.noise_share)
            raise ValueError(f"noise_share must be 1 over whole numbers for divisor, got {shares}")
        return self

    @property
    def ranges(self) -> ViewRanges:
        """What is drawn for a view."""
        return ViewRanges(**self.model_dump())

    def _largest_area(self) -> float:
        """Return the largest fraction of an image that a crop of these aspects can cover."""
        low, high = self.crop_aspect
        return min(1.0, high, 1 / low)


class OptimSection(Section):
    """Optimizer and learning rate."""

    name: Literal["sgd", "lars", "adamw"]
    peak_lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """Of SGD and LARS; the first beta of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["cosine", "constant", "steps"]
    drop_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """For `steps`: after how many epochs the rate falls to a tenth, each time."""
    warmup_steps: int = Field(ge=0)
    clip_norm: Annotated[float, Field(gt=0)] | None
    """Largest norm of the gradient, or null for no limit."""

    @model_validator(mode="after")
    def _drops_fit_the_schedule(self) -> "OptimSection":
        if (self.schedule == "steps") != bool(self.drop_epochs):
            raise ValueError(
                f"drop_epochs is {list(self.drop_epochs)} and schedule {self.schedule}: "
                "steps needs some, and nothing else takes any"
            )
        if list(self.drop_epochs) != sorted(set(self.drop_epochs)):
            raise ValueError(f"drop_epochs must rise, got {list(self.drop_epochs)}")
        return self


class FinetuneOptimSection(OptimSection):
    """Optimizer and learning rates of a detector."""

    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor of the learning rate from one layer of the body to the one before it, as timm counts
    layers; the pyramid and the heads have the whole rate. Null is one rate for all."""


class Training(Section):
    """What both loops have."""

    seed: int = Field(ge=0)
    precision: Literal["fp32", "bf16", "fp16"]
    intensity: IntensitySection
    optim: OptimSection
    batch_size: int = Field(ge=1, le=MOST)
    """Images in a global batch, over all processes."""
    epochs: int = Field(ge=1, le=MOST)
    max_steps: Annotated[int, Field(ge=1)] | None
    """Where the run ends at the latest, its schedule with it; null for after the last epoch."""
    log_every_steps: int = Field(default=10, ge=1)
    checkpoint_every_steps: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _drops_are_reached(self) -> "Training":
        beyond = [epoch for epoch in self.optim.drop_epochs if epoch >= self.epochs]
        if beyond:
            raise ValueError(
                f"optim.drop_epochs {beyond} are never reached in {self.epochs} epochs"
            )
        return self

    @model_validator(mode="after")
    def _warmup_fits_the_steps(self) -> "Training":
        # How long a run is that `epochs` ends depends on its images: it is checked as it begins.
        if self.max_steps is not None and 2 * self.optim.warmup_steps > self.max_steps:
            raise ValueError(
                f"optim.warmup_steps is {self.optim.warmup_steps}, more than half of max_steps "
                f"{self.max_steps}: set it to at most {self.max_steps // 2}"
            )
        return self


class PretrainRecipe(Training):
    """`cxrssl pretrain`."""

    moved: ClassVar[Mapping[str, str]] = MOVED

    task: Literal["pretrain"]
    data: PoolSection
    views: ViewSection
    body: BodySection
    method: MethodSection
    max_chunk_images: Annotated[int, Field(ge=1)] | None
    """Images a process embeds at once, views in pairs, for the batch's exact gradient in less
    memory; null for all of its images. Halved when memory runs out."""
    compile: bool
    """Whether torch.compile fuses the network; starts slowly, and rounds a little differently."""
    health_images: int = Field(default=128, ge=8)
    """Images of the pool on which the representation is measured, at the start and after epochs."""

    @property
    def backbone(self) -> str:
        """The timm architecture."""
        return self.body.backbone

    @model_validator(mode="after")
    def _method_accepts_recipe(self) -> "PretrainRecipe":
        fault = self.method.fault(self.batch_size, self.views.ranges)
        if fault is not None:
            raise ValueError(fault)
        return self


class FinetuneRecipe(Training):
    """`cxrssl finetune`."""

    task: Literal["finetune"]
    data: LabelSection
    model: DetectorSection
    init: InitSection
    optim: FinetuneOptimSection
    size_px: SidePx
    """Side to which the detector resizes an image, usually the store's."""
    validate_every_epochs: Annotated[int, Field(ge=1)] | None
    """How often the validation split is scored, at the end as well; null is never."""
    keep: Literal["last", "best"]
    """Which weights become detector/: the last, or those of the best AP in validation."""
    augment: AugmentSection | None = None
    paste: PasteSection | None = None
    ema: EmaSection | None = None
    unlabelled: UnlabelledSection | None = None
    gate: GateSection | None = None

    @property
    def backbone(self) -> str:
        """The timm architecture."""
        return self.model.backbone

    @model_validator(mode="after")
    def _parts_fit(self) -> "FinetuneRecipe":
        if self.keep == "best" and self.validate_every_epochs is None:
            raise ValueError("keep: best needs validate_every_epochs, to know which is best")
        self._check_random_start()
        if self.init.start == "coco" and not self.model.takes_coco:
            raise ValueError(f"init.start: coco is a Faster R-CNN, and model {self.model.family}")
        self._check_unlabelled()
        self._check_gate()
        return self

    def _check_unlabelled(self) -> None:
        """Refuse a teacher that is not there, or that never begins.

        Raises:
            ValueError: If the recipe has one.
        """
        if self.unlabelled is None:
            return
        if self.ema is None:
            raise ValueError(
                "unlabelled needs ema: the teacher is the average of the weights. Set ema.decay"
            )
        least = self.model.score_threshold
        if self.unlabelled.threshold < least:
            raise ValueError(
                f"unlabelled.threshold {self.unlabelled.threshold:g} is below "
                f"model.score_threshold {least:g}, and the teacher has no weaker boxes. Raise the "
                "first, or lower the second"
            )
        burn_in = self.unlabelled.burn_in_steps
        if self.max_steps is not None and burn_in >= self.max_steps:
            raise ValueError(
                f"unlabelled.burn_in_steps {burn_in} leaves none of max_steps {self.max_steps}: "
                "no image without labels would be looked at"
            )

    def _check_gate(self) -> None:
        """Refuse a gate that has nothing to be fitted or calibrated on, or no place to go.

        Raises:
            ValueError: If the recipe has one.
        """
        if self.gate is None:
            return
        if not self.model.takes_gate:
            raise ValueError(
                f"gate has no place in model.family {self.model.family}: its published class has "
                "none. Set gate to null, or choose another family"
            )
        if not self.data.normals:
            raise ValueError(
                "gate needs data.normals: true: it learns to tell images with boxes from those "
                "without"
            )
        if self.validate_every_epochs is None:
            raise ValueError(
                "gate needs validate_every_epochs: its temperature is fitted on the validation "
                "split, which a run without validation does not look at"
            )

    def _check_random_start(self) -> None:
        """Refuse to freeze the statistics of random stages, which have seen no images.

        Raises:
            ValueError: If the recipe does.
        """
        known = self.init.stages_with_statistics
        if known is None:
            return
        start = f"{self.init.random_part} has no statistics of images yet"
        if self.model.norm == "frozen":
            raise ValueError(
                f"{start}, and model.norm: frozen would keep it so. Set model.norm to "
                "recalibrated or bn, or name a start"
            )
        stages = self.model.frozen_stages
        if stages > known and self.model.norm in ("bn", "sync"):
            raise ValueError(
                f"{start}, and model.frozen_stages: {stages} would keep it so in these stages. Set "
                f"frozen_stages to {known} or model.norm to recalibrated, or name a start"
            )
