"""What a pretraining recipe may say of its method; one section a method, told apart by `name`.

The methods themselves are in `cxrssl.ssl`.
"""

from typing import Annotated, Literal

from pydantic import Field

from cxrssl.config.section import MOST, Section
from cxrssl.data.cuts import Cut
from cxrssl.data.cuts.two_views import TwoViews, ViewRanges

Width = Annotated[int, Field(gt=0, le=MOST)]
Temperature = Annotated[float, Field(gt=0)]


class Method(Section):
    """What methods have in common."""

    def cut(self, views: ViewRanges) -> Cut:
        """Return what the method is given of each image, for the recipe's section `views`."""
        return TwoViews(views)

    def fault(self, batch_size: int, views: ViewRanges) -> str | None:  # noqa: ARG002 - some do
        """Say why the method can't work with a recipe's global batch and views, or None."""
        if batch_size < 2:
            return (
                f"batch_size: pretraining needs at least 2 images a batch, got {batch_size}: they "
                "are compared, or normalised together"
            )
        return None

    def pool_fault(self, num_images: int) -> str | None:  # noqa: ARG002 - most take any pool
        """Say why the method can't work with a pool of so many images, or None."""
        return None


class SimclrSection(Method):
    """SimCLR, arXiv 2002.05709."""

    name: Literal["simclr"]
    projector_layers: Literal[2, 3]
    projector_hidden: Width
    projector_outputs: Width
    projector_batch_norm: bool
    """Whether BatchNorm follows the head's linear layers: in SimCLR's code, not in its text."""
    temperature: Temperature
    """Divides the cosine similarities."""


MethodSection = SimclrSection
