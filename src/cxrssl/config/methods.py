"""The section `method` of a pretraining recipe: one class a method, distinguished by `name`.

The methods themselves are in `cxrssl.ssl`.
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from cxrssl.config.section import MOST, Probability, Section
from cxrssl.data.cuts import Cut
from cxrssl.data.cuts.patch_place import PatchPlace
from cxrssl.data.cuts.placed_views import PlacedViews
from cxrssl.data.cuts.tiles import GRID, Tiles
from cxrssl.data.cuts.two_views import TwoViews, ViewRanges

Width = Annotated[int, Field(gt=0, le=MOST)]
# Cosines lie in [-1, 1]: divided by less, a loss is of thousands, and its gradient noise.
Temperature = Annotated[float, Field(ge=0.001)]
# For less, torch's draws from a beta distribution underflow, and come out as one half.
MixAlpha = Annotated[float, Field(ge=0.1, le=100)]
Positives = Literal["image", "patient"]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
PositiveWeight = Annotated[float, Field(gt=0)]
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

    def store_fault(self, store_px: int, views: ViewRanges) -> str | None:  # noqa: ARG002 - some do
        """Return why images of the store's side are too small for the method, or None."""
        return None

    def unused(self) -> str | None:
        """Return which fields of `views` the method's inputs do without, None if it uses all."""
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
    positives: Positives = "image"
    """Whether both views are of one image or, where a patient has several, of two (MICLe)."""


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
    mix_alpha: MixAlpha | None = None
    """Mixes images by shares from Beta(alpha, alpha), as C2L does (1 there); null is MoCo v2."""
    positives: Positives = "image"
    """Whether both views are of one image or, where a patient has several, of two (MICLe)."""


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
    positives: Positives = "image"
    """Whether both views are of one image or, where a patient has several, of two (MICLe)."""


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
    invariance: PositiveWeight
    """Weight of the distance of an image's two views."""
    variance: PositiveWeight
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
    # For much less most views have no pair, and nothing is learnt.
    pair_distance: float = Field(ge=0.3, le=10)
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
        return _flip_fault(views) or super().fault(batch_size, views)

    def store_fault(self, store_px: int, views: ViewRanges) -> str | None:
        """Return a fault if no crop of an image has the pixels of nine tiles."""
        crop_px = math.floor(store_px * math.sqrt(views.crop_area[1]))
        if GRID * self.tile_px > crop_px:
            return (
                f"method.tile_px is {self.tile_px}: three tiles beside each other have more pixels "
                f"than the {crop_px} of the largest crop of the store's {store_px} px. Set it to "
                f"at most {crop_px // GRID}, or ingest with a larger --size"
            )
        return None


class PositionSection(Method):
    """Position, Bai et al., arXiv 1907.02757."""

    name: Literal["position"]
    patch_px: int = Field(ge=8, le=MOST)
    """Side of a patch of the image at `views.size_px`; at most two cells."""
    num_patches: int = Field(ge=2, le=256)
    """Patches of an image, each of another cell; at least two, which BatchNorm needs."""
    grid: int = Field(ge=2, le=16)
    """Cells along each side of the image: 3 for nine cells."""
    jitter: Probability
    """How far a patch's middle strays from the cell's, as a share of the cell: 1 is all of it."""
    classifier_hidden: Width

    @property
    def further_sizes_px(self) -> dict[str, int]:
        """The side of a patch."""
        return {"method.patch_px": self.patch_px}

    def cut(self, views: ViewRanges) -> Cut:
        """Return patches and their cells."""
        return PatchPlace(views, self.patch_px, self.num_patches, self.grid, self.jitter)

    def fault(self, batch_size: int, views: ViewRanges) -> str | None:
        """Return a fault also if a patch is too large for its cell, or views are flipped."""
        most = 2 * views.size_px // self.grid
        if self.patch_px > most:
            return (
                f"method.patch_px is {self.patch_px}, more than two of {self.grid} cells of "
                f"views.size_px {views.size_px}: in the outer cells no patch inside the image has "
                f"its middle. Set it to at most {most}"
            )
        if self.num_patches > self.grid**2:
            return (
                f"method.num_patches is {self.num_patches}, and method.grid {self.grid} has "
                f"{self.grid**2} cells. Set the first to at most {self.grid**2}"
            )
        return _flip_fault(views) or super().fault(batch_size, views)

    def store_fault(self, store_px: int, views: ViewRanges) -> str | None:
        """Return a fault if patches would be of an enlarged image."""
        if views.size_px > store_px:
            return (
                f"views.size_px is {views.size_px}, and the store has {store_px} px: a patch of "
                f"{self.patch_px} px would have more pixels than the store has there. Set "
                f"views.size_px to at most {store_px}, method.patch_px with it, or ingest with a "
                "larger --size"
            )
        return super().store_fault(store_px, views)

    def unused(self) -> str | None:
        """Return the fields of crops."""
        return "views.crop_area and views.crop_aspect"


def _flip_fault(views: ViewRanges) -> str | None:
    """Return why a method that asks for places can't have mirrored views, None if it has none."""
    if views.flip_probability > 0:
        return (
            f"views.flip_probability is {views.flip_probability:g}: where an image may be "
            "mirrored, left and right can't be told. Set it to 0"
        )
    return None


MethodSection = Annotated[
    SimclrSection
    | MocoSection
    | DenseclSection
    | ByolSection
    | PixproSection
    | SimsiamSection
    | VicregSection
    | JigsawSection
    | PositionSection,
    Field(discriminator="name"),
]


def pairs_patients(method: MethodSection) -> bool:
    """Return whether the two views of an item are to come from two films of a patient."""
    match method:
        case SimclrSection() | MocoSection() | ByolSection():
            return method.positives == "patient"
        case _:
            return False
