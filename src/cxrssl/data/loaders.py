"""Torch data sets and loaders over a store.

An item is asked for as a `Visit`, so it knows its epoch.

Shapes: B images in this process's slice of a batch, H and W pixels of the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cxrssl.core.boxes import flipped
from cxrssl.core.images import Intensity, Pixels
from cxrssl.data.detection import Example
from cxrssl.data.sampling import Visit
from cxrssl.data.shared_memory import check_shared_memory
from cxrssl.data.store import Store
from cxrssl.data.views import ViewRanges, random_view, view_generator


class Target(TypedDict):
    """What a detector trains on: boxes [N, 4] xyxy float32 and labels [N] int64 in 1..K."""

    boxes: Tensor
    labels: Tensor


Batch = tuple[list[Tensor], list[Target]]


@dataclass(frozen=True)
class ViewPairs(Dataset[Tensor]):
    """Two views of each image of a pool, [2, 1, size, size] uint8."""

    store: Store
    rows: Sequence[int]
    ranges: ViewRanges
    intensity: Intensity
    seed: int

    def __getitem__(self, visit: Visit) -> Tensor:
        """Return both views of an image; a function of (seed, epoch, image, repeat, view)."""
        pixels, row = self.image(visit.row), self.rows[visit.row]
        first = 2 * visit.repeat
        views = [
            random_view(pixels, self.ranges, view_generator(self.seed, visit.epoch, row, view))
            for view in (first, first + 1)
        ]
        return torch.from_numpy(np.stack(views)[:, None])

    @property
    def ids(self) -> list[str]:
        """The image ids of the pool."""
        return [self.store.images[row].image_id for row in self.rows]

    def image(self, index: int) -> Pixels:
        """Return the image [H, W] uint8 that the views of the pool's `index` are cut from."""
        return self.intensity.prepare(self.store.pixels(self.rows[index]))


@dataclass(frozen=True)
class DetectionImages(Dataset[tuple[Tensor, Target]]):
    """Images [1, H, W] uint8 with their consensus boxes, mirrored at random."""

    store: Store
    examples: Sequence[Example]
    intensity: Intensity
    flip_probability: float
    seed: int

    def __getitem__(self, visit: Visit) -> tuple[Tensor, Target]:
        """Return an image and its target; the flip hangs on (seed, epoch, image, repeat) alone."""
        example = self.examples[visit.row]
        pixels = self.intensity.prepare(self.store.pixels(example.row))
        boxes = example.boxes
        generator = view_generator(self.seed, visit.epoch, example.row, visit.repeat)
        if generator.random() < self.flip_probability:
            pixels = pixels[:, ::-1]
            boxes = flipped(boxes, width_px=pixels.shape[1])
        target = Target(
            boxes=torch.from_numpy(boxes.reshape(-1, 4).copy()),
            labels=torch.from_numpy(example.labels + 1),
        )
        return torch.from_numpy(pixels.copy())[None], target


def view_loader(
    images: ViewPairs, batches: Sequence[list[Visit]], num_workers: int, *, pin: bool
) -> DataLoader[Tensor]:
    """Load the given batches in order, each [B, 2, 1, H, W] uint8.

    Pinned memory is copied to a GPU while it computes; elsewhere it gains nothing.

    Raises:
        RunError: If the workers' batches don't fit into shared memory.
    """
    _check_room(batches, 2 * images.ranges.size_px**2, num_workers)
    return DataLoader(images, batch_sampler=batches, num_workers=num_workers, pin_memory=pin)


def detection_loader(
    images: DetectionImages,
    batches: Sequence[list[Visit]],
    *,
    num_workers: int,
) -> DataLoader[tuple[Tensor, Target]]:
    """Load the given batches in order, each as two lists.

    Raises:
        RunError: If the workers' batches don't fit into shared memory.
    """
    _check_room(batches, images.store.manifest["size_px"] ** 2, num_workers)
    return DataLoader(images, batch_sampler=batches, num_workers=num_workers, collate_fn=as_lists)


def _check_room(batches: Sequence[list[Visit]], item_bytes: int, num_workers: int) -> None:
    """Check that workers can hand over batches of items of so many bytes."""
    if len(batches):
        check_shared_memory(item_bytes * len(batches[0]), num_workers=num_workers)


def as_lists(items: Sequence[tuple[Tensor, Target]]) -> Batch:
    """Keep images and targets as two lists: their sizes may differ."""
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def network_input(pixels: Tensor, intensity: Intensity, *, num_channels: int) -> Tensor:
    """Turn grey levels [B, 1, H, W] uint8 into normalised input [B, num_channels, H, W].

    The result lies in memory as `channels_last`, as the networks' weights do.
    """
    levels = (pixels.to(torch.float32) / 255 - intensity.mean) / intensity.std
    wide = levels.expand(-1, num_channels, -1, -1)
    return wide.contiguous(memory_format=torch.channels_last)
