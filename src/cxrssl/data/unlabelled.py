"""Images without labels as a teacher and its student see them: a weak and a strong view of each.

Shapes: B images, H and W pixels of the store, K squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cxrssl.core.geometry import Geometry, identity, mirror
from cxrssl.core.images import Intensity, Pixels
from cxrssl.core.pixels import mirrored
from cxrssl.data.cuts.augmentation import AugmentRanges, augmented
from cxrssl.data.sampling import Visit
from cxrssl.data.shared_memory import check_shared_memory
from cxrssl.data.store import Store

_NO_BOXES = np.empty((0, 4), np.float32)
_TAG = 0x57A6


class TwoViews(NamedTuple):
    """Two views of an image.

    Attributes:
        place: The image, as its place in `UnlabelledImages.rows`.
        weak: [1, H, W] uint8: the image, mirrored at random.
        strong: [1, H, W] uint8: mirrored at random and augmented, without its squares.
        weak_geometry: From the image to the weak view.
        to_strong: From the weak view to the strong one.
        squares: [K, 4] int64 xyxy, pixels of the strong view: what is to be cut.
    """

    place: int
    weak: Tensor
    strong: Tensor
    weak_geometry: Geometry
    to_strong: Geometry
    squares: NDArray[np.int64]


@dataclass(frozen=True)
class UnlabelledImages(Dataset[TwoViews]):
    """Images of a store of which no label is used.

    Attributes:
        store: Store of the images.
        rows: The images, as rows of the store.
        intensity: How grey levels reach the network.
        flip_probability: Probability of mirroring, for each view.
        augment: What else is drawn for the strong view, None for nothing.
        seed: Seed of the run.
    """

    store: Store
    rows: Sequence[int]
    intensity: Intensity
    flip_probability: float
    augment: AugmentRanges | None
    seed: int

    def __getitem__(self, visit: Visit) -> TwoViews:
        """Return both views; they are a function of (seed, epoch, image, repeat) alone."""
        row = self.rows[visit.row]
        pixels = self.intensity.prepare(self.store.pixels(row))
        key = (self.seed, visit.epoch, row, visit.repeat, _TAG)
        generator = np.random.default_rng(np.random.SeedSequence(key))
        weak, weak_geometry = self._mirrored(pixels, generator)
        strong, strong_geometry = self._mirrored(pixels, generator)
        squares = np.empty((0, 4), np.int64)
        if self.augment is not None:
            view = augmented(strong, _NO_BOXES, self.augment, generator)
            strong, squares = view.pixels, view.squares
            strong_geometry = view.geometry.after(strong_geometry)
        to_strong = strong_geometry.after(weak_geometry.inverse())
        return TwoViews(
            visit.row, _tensor(weak), _tensor(strong), weak_geometry, to_strong, squares
        )

    def _mirrored(self, pixels: Pixels, generator: np.random.Generator) -> tuple[Pixels, Geometry]:
        if generator.random() < self.flip_probability:
            return mirrored(pixels), mirror(width_px=pixels.shape[1])
        return pixels, identity()


def _tensor(pixels: Pixels) -> Tensor:
    """Return pixels [H, W] as [1, H, W], a copy: those of a store can't be written to."""
    return torch.from_numpy(np.array(pixels))[None]


def unlabelled_loader(
    images: UnlabelledImages, batches: Sequence[list[Visit]], *, num_workers: int
) -> DataLoader[TwoViews]:
    """Load the given batches in order, each as a list of `TwoViews`.

    Raises:
        RunError: If the workers' batches don't fit into shared memory.
    """
    if len(batches):
        item_bytes = 2 * images.store.manifest["size_px"] ** 2
        check_shared_memory(item_bytes * len(batches[0]), num_workers=num_workers)
    return DataLoader(images, batch_sampler=batches, num_workers=num_workers, collate_fn=list)
