"""The section `body` of a pretraining recipe: the backbone that is trained."""

from typing import Literal

from pydantic import Field, model_validator

from cxrssl.config.section import NO_PUBLISHED_WEIGHTS, Section, WeightsPath


class BodySection(Section):
    """The backbone that is pretrained, and the weights that it starts from."""

    backbone: str
    """timm architecture."""
    start: Literal["random", "imagenet", "published", "coco", "run"]
    """Initial weights of the backbone; see models/initial_weights.py."""
    weights: WeightsPath | None
    """File or hf-hub:ORG/NAME@REVISION for `imagenet`, `published` and `coco`, null for timm's and
    torchvision's own, which `published` has not; backbone/ folder or hf-hub:ORG/NAME@REVISION for
    `run`."""
    frozen_stages: int = Field(ge=0)
    """Stages that are not trained: 1 is the stem, 2 the first stage as well."""

    @model_validator(mode="after")
    def _weights_fit_the_start(self) -> "BodySection":
        if self.start == "random" and self.weights is not None:
            raise ValueError(f"start: random takes no weights, got {self.weights}")
        if self.start == "published" and self.weights is None:
            raise ValueError(NO_PUBLISHED_WEIGHTS)
        if self.start == "run" and self.weights is None:
            raise ValueError("start: run needs weights: the backbone/ folder of a pretraining run")
        return self
