"""The section `sizing` of a plan: what it may take, and what was decided from that.

`reproduce.sizing` decides; the decisions are written into the plan's folder, so that the plan is
the same whenever it is called again.
"""

from typing import Annotated, Any

from pydantic import Field

from cxrssl.config.detectors import SidePx
from cxrssl.config.section import Fraction, Section

Hours = Annotated[float, Field(gt=0, le=10_000)]


class TierSection(Section):
    """One size of a plan's trainings."""

    title: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,60}$")]
    size_px: SidePx
    """Side of the stored images."""
    imagenet: str | None
    """timm architecture whose ImageNet weights are a start, where they are at hand; or null."""
    finetuning: dict[str, Any] = Field(default_factory=dict)
    """Fields of the fine-tuning recipe, nested as they are there."""
    pretraining: dict[str, Any] = Field(default_factory=dict)
    """Fields of the pretraining recipe."""


class DecisionSection(Section):
    """What was decided for a machine, its images and a budget."""

    tier: int = Field(ge=0)
    """Place in `tiers`."""
    seeds: int = Field(ge=1)
    label_fractions: tuple[Fraction, ...] = Field(min_length=1)
    finetune_steps: int = Field(ge=1)
    pretrain_steps: int = Field(ge=1)
    imagenet: bool
    """Whether ImageNet weights were at hand."""
    images: int = Field(ge=1)
    """Training images."""
    pool: int = Field(ge=1)
    """Images that are pretrained on."""


class SizingSection(Section):
    """A plan whose sizes are decided from a budget of time."""

    hours: Hours
    """Time that the whole plan may take; `--budget` sets it."""
    tiers: tuple[TierSection, ...] = Field(min_length=1)
    """The smallest first; the largest that the budget takes is decided for."""
    decided: DecisionSection | None = None
    """Left out of a plan that is written by hand."""
