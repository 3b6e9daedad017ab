"""The section `method` of a pretraining recipe: one class a method, distinguished by `name`.

The methods themselves are in `cxrssl.ssl`.
"""

from typing import Annotated, Literal

from pydantic import Field

from cxrssl.config.section import MOST, Section
from cxrssl.data.cuts import Cut
from cxrssl.data.cuts.placed_views import PlacedViews
from cxrssl.data.cuts.tiles import GRID, Tiles
from cxrssl.data.cuts.two_views import TwoViews, ViewRanges

Width = Annotated[int, Field(gt=0, le=MOST)]
# Cosines lie in [-1, 1]: divided by less, a loss is of thousands, and its gradient noise.
Temperature = Annotated[float, Field(ge=0.001)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
# Of 2 x 2 places each is a quarter of the view: there is next to nothing to match.
LEAST_MAP_SIDE = 3


class Method(Section):
    """Fields and checks that methods have in common."""

    @property
    def further_sizes_px(self) -> dict[str, int]:
        """Sides, by their fields, of what the backbone sees while training, if not a view."""
        return {}

    @property
    def least_map_side(self) -> int | None:
        """Least side of the backbone's last map of a view, None if the method does not use it."""
        return None

    def cut(self, views: ViewRanges) -> Cut:
        """Return how the method's inputs are cut from an image, given the section `views`."""
        return TwoViews(views)

    def fault(self, batch_size: int, views: ViewRanges) -> str | None:  # noqa: ARG002 - some do
        """Return why the method can't work with a recipe's global batch and views, or None."""
        if batch_size < 2:
            return (
                f"batch_size: pretraining needs at least 2 images a batch, got {batch_size}: they "
                "are compared, or normalised together"
            )
        return None

    def pool_fault(self, num_images: int, batch_size: int) -> str | None:  # noqa: ARG002 - one does
        """Return why the method can't work with a pool that fills at least a batch, or None."""
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


class QueueMethod(Method):
    """MoCo v2 and what is built on it: fields and checks of a queue of keys."""

    name: str
    projector_hidden: Width
    projector_outputs: Width
    temperature: Temperature
    """Divides the cosine similarities."""
    momentum: Momentum
    """Fraction of itself that the slow copy of the network keeps in a step."""
    queue_images: Width
    """Images whose keys a query is told from; a multiple of the batch, at most the pool."""

    def fault(self, batch_size: int, views: ViewRanges) -> str | None:
        """Return a fault also if batches do not fill the queue evenly."""
        if self.queue_images % batch_size:
            return (
                f"method.queue_images is {self.queue_images}, no multiple of batch_size "
                f"{batch_size}: batches replace each other in the queue. Set it to "
                f"{max(1, self.queue_images // batch_size) * batch_size}"
            )
        return super().fault(batch_size, views)

    def pool_fault(self, num_images: int, batch_size: int) -> str | None:
        """Return a fault if the queue would hold an image twice."""
        if self.queue_images > num_images:
            return (
                f"method.queue_images is {self.queue_images}: an image would be in the queue "
                f"twice. Set it to {num_images // batch_size * batch_size}, as many as whole "
                f"batches of {batch_size} the pool holds, or take more images."
            )
        return None


class MocoSection(QueueMethod):
    """MoCo v2, arXiv 2003.04297."""

    name: Literal["moco"]


class DenseclSection(QueueMethod):
    """DenseCL, arXiv 2011.09157."""

    name: Literal["densecl"]
    dense_hidden: Width
    dense_outputs: Width
    dense_weight: float = Field(ge=0, le=1)
    """Weight of the loss of places; that of whole views has the rest of 1."""

    @property
    def least_map_side(self) -> int:
        """Least side of the map whose places are matched."""
        return LEAST_MAP_SIDE


class ByolSection(Method):
    """BYOL, arXiv 2006.07733."""

    name: Literal["byol"]
    heads_hidden: Width
    """Hidden layer of the projector and of the predictor."""
    heads_outputs: Width
    """Outputs of both."""
    momentum: Momentum
    """Fraction of itself that the slow copy keeps in the first step; it rises to 1."""


class SimsiamSection(Method):
    """SimSiam, arXiv 2011.10566."""

    name: Literal["simsiam"]
    projector_hidden: Width
    """Both hidden layers of the projector, which has three."""
    projector_outputs: Width
    """Outputs of the projector and of the predictor."""
    predictor_hidden: Width
    """Hidden layer of the predictor; narrower than its outputs in the paper."""


class VicregSection(Method):
    """VICReg, arXiv 2105.04906."""

    name: Literal["vicreg"]
    expander_hidden: Width
    """Both hidden layers of the expander, which has three."""
    expander_outputs: Width
    invariance: Weight
    """Weight of the distance of an image's two views."""
    variance: Weight
    """Weight of what the deviation of each output lacks of 1 over the batch."""
    covariance: Weight
    """Weight of the squared covariances of different outputs over the batch."""


class PixproSection(Method):
    """PixPro, arXiv 2011.10043."""

    name: Literal["pixpro"]
    projector_hidden: Width
    projector_outputs: Width
    momentum: Momentum
    """Fraction of itself that the slow copy keeps in the first step; it rises to 1."""
    pair_distance: float = Field(gt=0, le=10)
    """How near two places of the views must be in the image to be a pair, in diagonals of the
    larger of their cells."""
    sharpness: float = Field(ge=1, le=10)
    """Exponent of the similarities by which places of a view are summed; below 1 the gradient of
    a similarity of 0 would be infinite."""

    @property
    def least_map_side(self) -> int:
        """Least side of the map whose places are paired."""
        return LEAST_MAP_SIDE

    def cut(self, views: ViewRanges) -> Cut:
        """Return two views, and where they lie."""
        return PlacedViews(views)


class JigsawSection(Method):
    """Jigsaw, arXiv 1603.09246."""

    name: Literal["jigsaw"]
    tile_px: int = Field(ge=8, le=MOST)
    """Side of a tile; at most a third of `views.size_px`, whose cells it lies in."""
    num_orders: int = Field(ge=2, le=1000)
    """Into how many orders the nine tiles may be shuffled."""
    classifier_hidden: Width

    @property
    def further_sizes_px(self) -> dict[str, int]:
        """The side of a tile."""
        return {"method.tile_px": self.tile_px}

    def cut(self, views: ViewRanges) -> Cut:
        """Return the shuffled tiles of a view."""
        return Tiles(views, self.tile_px, self.num_orders)

    def fault(self, batch_size: int, views: ViewRanges) -> str | None:
        """Return a fault also if tiles do not fit into a view, or views are flipped."""
        if GRID * self.tile_px > views.size_px:
            return (
                f"method.tile_px is {self.tile_px}, more than a third of views.size_px "
                f"{views.size_px}: nine tiles do not fit. Set it to at most {views.size_px // GRID}"
            )
        if views.flip_probability > 0:
            return (
                f"views.flip_probability is {views.flip_probability:g}: where an image may be "
                "mirrored, left and right can't be told. Set it to 0"
            )
        return super().fault(batch_size, views)


MethodSection = Annotated[
    SimclrSection
    | MocoSection
    | DenseclSection
    | ByolSection
    | PixproSection
    | SimsiamSection
    | VicregSection
    | JigsawSection,
    Field(discriminator="name"),
]
