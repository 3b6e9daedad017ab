"""Torch data sets and loaders over a store.

An item is asked for as a `Visit`, so it knows its epoch.

Shapes: B images in this process's slice of a batch, H and W pixels of the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cxrssl.core.boxes import Boxes, flipped
from cxrssl.core.images import Intensity, Pixels
from cxrssl.data.cuts import Cut, Generators
from cxrssl.data.cuts.augmentation import AugmentRanges, with_boxes
from cxrssl.data.cuts.paste import Area, PasteRanges, draw_place, number_of_pastes
from cxrssl.data.cuts.paste import paste as pasted
from cxrssl.data.cuts.two_views import view_generator
from cxrssl.data.detection import Example
from cxrssl.data.patient_pairs import PatientPairs
from cxrssl.data.sampling import Visit
from cxrssl.data.shared_memory import check_shared_memory
from cxrssl.data.store import Store


class Target(TypedDict):
    """What a detector trains on: boxes [N, 4] xyxy float32 and labels [N] int64 in 1..K."""

    boxes: Tensor
    labels: Tensor


Batch = tuple[list[Tensor], list[Target]]


@dataclass(frozen=True)
class PoolImages(Dataset[dict[str, Tensor]]):
    """What is cut from each image of a pool for pretraining.

    Attributes:
        store: Store of the images.
        rows: The pool, as rows of the store.
        cut: What an item holds.
        intensity: How grey levels reach the network.
        seed: Seed of the run.
        pairs: Films of one patient, whose views make an item; None for views of one image.
    """

    store: Store
    rows: Sequence[int]
    cut: Cut
    intensity: Intensity
    seed: int
    pairs: PatientPairs | None = None

    def __getitem__(self, visit: Visit) -> dict[str, Tensor]:
        """Return `pool_item` of an image; a function of (seed, epoch, image, repeat).

        With pairs, the second view is one of the image's partner, and `image` is the number of
        their patient, so that films of one patient are not told apart.
        """
        generators = self.generators(visit)
        if self.pairs is None:
            return pool_item(self.image(visit.row), self.cut, generators, place=visit.row)
        first, second = (self.image(place) for place in self.films(visit))
        arrays = self.pairs.cut.of_films(first, second, generators)
        return _item(arrays, place=self.pairs.patients[visit.row])

    def films(self, visit: Visit) -> tuple[int, int]:
        """Return the images of the first view and of the second, as their places in the pool."""
        if self.pairs is None:
            return visit.row, visit.row
        return visit.row, self.pairs.partner(visit, seed=self.seed)

    def generators(self, visit: Visit) -> Generators:
        """Return the randomness of a visit."""
        first, row = 2 * visit.repeat, self.rows[visit.row]
        return (
            view_generator(self.seed, visit.epoch, row, first),
            view_generator(self.seed, visit.epoch, row, first + 1),
        )

    @property
    def ids(self) -> list[str]:
        """The image ids of the pool."""
        return [self.store.images[row].image_id for row in self.rows]

    def image(self, index: int) -> Pixels:
        """Return the image [H, W] uint8 that is cut for the pool's `index`."""
        return self.intensity.prepare(self.store.pixels(self.rows[index]))


def pool_item(pixels: Pixels, cut: Cut, generators: Generators, *, place: int) -> dict[str, Tensor]:
    """Return what is cut from an image [H, W] uint8, and as `image` its place in the pool."""
    return _item(cut(pixels, generators), place=place)


def _item(arrays: Mapping[str, NDArray[Any]], *, place: int) -> dict[str, Tensor]:
    item = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
    return item | {"image": torch.tensor(place)}


@dataclass(frozen=True)
class Paste:
    """Small findings that may be pasted into images.

    Attributes:
        ranges: What is drawn.
        findings: Example and box of each, as their places in the examples and in its boxes.
        within: 0-based classes in whose boxes findings are pasted.
    """

    ranges: PasteRanges
    findings: Sequence[tuple[int, int]]
    within: Sequence[int]


@dataclass(frozen=True)
class DetectionImages(Dataset[tuple[Tensor, Target]]):
    """Images [1, H, W] uint8 with their consensus boxes, mirrored and changed at random.

    Attributes:
        store: Store of the images.
        examples: The images with their boxes.
        intensity: How grey levels reach the network.
        flip_probability: Probability of mirroring.
        seed: Seed of the run.
        augment: What else is drawn, None for nothing.
        paste: Small findings that are pasted before all else, None for none.
    """

    store: Store
    examples: Sequence[Example]
    intensity: Intensity
    flip_probability: float
    seed: int
    augment: AugmentRanges | None = None
    paste: Paste | None = None

    def __getitem__(self, visit: Visit) -> tuple[Tensor, Target]:
        """Return an image and its target, a function of (seed, epoch, image, repeat) alone."""
        example = self.examples[visit.row]
        pixels, boxes, labels = self._pixels(example), example.boxes, example.labels
        generator = view_generator(self.seed, visit.epoch, example.row, visit.repeat)
        is_flipped = generator.random() < self.flip_probability
        if self.paste is not None:
            pixels, boxes, labels = self._with_findings(pixels, example, self.paste, generator)
        if is_flipped:
            pixels = pixels[:, ::-1]
            boxes = flipped(boxes, width_px=pixels.shape[1])
        if self.augment is not None:
            pixels, boxes = with_boxes(
                np.ascontiguousarray(pixels), boxes.reshape(-1, 4), self.augment, generator
            )
        target = Target(
            boxes=torch.from_numpy(boxes.reshape(-1, 4).copy()),
            labels=torch.from_numpy(labels + 1),
        )
        return torch.from_numpy(pixels.copy())[None], target

    def num_drawn(self, visit: Visit) -> int:
        """Return how many findings are drawn for an image: those without a place are left out."""
        if self.paste is None or not len(self.paste.findings):
            return 0
        row = self.examples[visit.row].row
        generator = view_generator(self.seed, visit.epoch, row, visit.repeat)
        generator.random()  # the flip comes first
        return number_of_pastes(self.paste.ranges, generator)

    def _pixels(self, example: Example) -> Pixels:
        return self.intensity.prepare(self.store.pixels(example.row))

    def _with_findings(
        self, pixels: Pixels, example: Example, paste: Paste, generator: np.random.Generator
    ) -> tuple[Pixels, Boxes, NDArray[np.int64]]:
        """Return an image with pasted findings, its boxes [N, 4] and their classes [N]."""
        boxes, labels = example.boxes.reshape(-1, 4), example.labels
        areas = paste_areas(self.store, example, paste.within)
        # A lung that findings are pasted into is no box that they must not cover.
        taken = boxes[~np.isin(labels, paste.within)]
        count = number_of_pastes(paste.ranges, generator) if len(paste.findings) else 0
        for _ in range(count):
            number, box_number = paste.findings[int(generator.integers(len(paste.findings)))]
            area = areas[int(generator.integers(len(areas)))]
            finding = self.examples[number]
            box = finding.boxes[box_number]
            place = draw_place(box, taken, area, paste.ranges, generator)
            if place is not None:
                pixels = pasted(pixels, self._pixels(finding), box, place)
                boxes, taken = (np.concatenate([one, place.box[None]]) for one in (boxes, taken))
                labels = np.append(labels, finding.labels[box_number])
        return pixels, boxes, labels


def paste_areas(store: Store, example: Example, within: Sequence[int]) -> list[Area]:
    """Return where findings may be pasted into an image, xyxy, pixels of the store.

    Args:
        store: Store of the image.
        example: The image.
        within: 0-based classes in whose boxes they are pasted. An image without any, and any image
            if there are none, has the middle 80 % of it, along each side.
    """
    boxes = example.boxes.reshape(-1, 4)[np.isin(example.labels, within)]
    if len(boxes):
        return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes]
    place, image = store.placement(example.row), store.images[example.row]
    width, height = image.original_width * place.x_scale, image.original_height * place.y_scale
    left, top = place.x_offset_px + 0.1 * width, place.y_offset_px + 0.1 * height
    return [(left, top, left + 0.8 * width, top + 0.8 * height)]


def pool_loader(
    images: PoolImages, batches: Sequence[list[Visit]], num_workers: int, *, pin: bool
) -> DataLoader[dict[str, Tensor]]:
    """Load the given batches in order, each the items of `images` stacked by name.

    Pinned memory is copied to a GPU while it computes; elsewhere it gains nothing.

    Raises:
        RunError: If the workers' batches don't fit into shared memory.
    """
    if len(batches):
        item = images[batches[0][0]]
        _check_room(batches, sum(part.nbytes for part in item.values()), num_workers)
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


def method_input(
    batch: Mapping[str, Tensor], intensity: Intensity, *, num_channels: int
) -> dict[str, Tensor]:
    """Turn the pixels in a batch of `pool_loader` into normalised input; the rest stays.

    Pixels [B, V, 1, H, W] uint8 become [B, V, num_channels, H, W] float32. In memory all images of
    the first place come before those of the second, each as `channels_last`: a method that takes
    them in that order copies nothing.
    """

    def normalised(pixels: Tensor) -> Tensor:
        by_place = pixels.transpose(0, 1)  # [V, B, 1, H, W]
        wide = network_input(by_place.flatten(0, 1), intensity, num_channels=num_channels)
        return wide.view(*by_place.shape[:2], *wide.shape[1:]).transpose(0, 1)

    return {
        name: normalised(part) if part.dtype == torch.uint8 else part
        for name, part in batch.items()
    }
