"""What a plan may say: which data, recipes, pools and seeds `cxrssl reproduce` runs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cxrssl.config.section import Section


class PhantomSection(Section):
    """A made data set."""

    images: int = Field(ge=1)
    seed: int = Field(ge=0)
    normal_share: Annotated[float, Field(ge=0, lt=1)]
    min_side_px: int = Field(ge=64)
    max_side_px: int = Field(ge=64)


class PlanData(Section):
    """Where a plan's images come from: a source folder, or a phantom if `source` is null."""

    source: Path | None
    phantom: PhantomSection | None
    size_px: int = Field(gt=0)
    fit: Literal["squash", "letterbox"]
    """How an image becomes a square: stretched, as in the paper, or with black borders."""

    @model_validator(mode="after")
    def _one_origin(self) -> "PlanData":
        if self.source is None and self.phantom is None:
            raise ValueError("source and phantom are both null: name a source folder")
        return self


class Plan(Section):
    """`cxrssl reproduce`: a baseline, and at each pool an SSL arm and its control."""

    task: Literal["plan"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    data: PlanData
    pretrain: str
    """Packaged recipe, such as `pretrain/demo`, or a path."""
    finetune: str
    pool_percents: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(min_length=1)
    """Shares of the training images moved to the pool; an arm fine-tunes on the rest."""
    seeds: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_twins(self) -> "Plan":
        for name in ("pool_percents", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names one value twice: {list(values)}")
        return self
