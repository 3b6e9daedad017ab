"""Views: functions of (seed, epoch, image, view), spread as their ranges say."""

import numpy as np
import pytest
import torch

from cxrssl.core.images import Intensity
from cxrssl.data.detection import examples_of
from cxrssl.data.loaders import DetectionImages, ViewPairs, view_loader
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.data.store import Store
from cxrssl.data.views import ViewRanges, random_crop, random_view

PLAIN = ViewRanges(
    size_px=32,
    crop_area=(1.0, 1.0),
    crop_aspect=(1.0, 1.0),
    flip_probability=0.0,
    blur_sigma_px=(0.0, 0.0),
    blur_kernel_px=21,
    noise_share=(0.0, 0.0),
)
FULL = ViewRanges(
    size_px=32,
    crop_area=(0.2, 1.0),
    crop_aspect=(0.75, 4 / 3),
    flip_probability=0.5,
    blur_sigma_px=(0.1, 1.0),
    blur_kernel_px=21,
    noise_share=(0.125, 0.25),
)
INTENSITY = Intensity(equalize=True, mean=0.5, std=0.25)


def test_without_any_change_a_view_is_the_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)
    assert np.array_equal(random_view(pixels, PLAIN, np.random.default_rng(1)), pixels)


def test_crops_cover_the_stated_share_of_the_area() -> None:
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        top, left, height, width = random_crop(
            400, 300, area=(0.2, 1.0), aspect=(0.75, 4 / 3), generator=generator
        )
        assert top + height <= 400
        assert left + width <= 300
        shares.append(height * width / 120_000)
    assert min(shares) == pytest.approx(0.2, abs=0.02)
    # Large crops of another shape do not fit and are drawn again, so the mean lies below 0.6.
    assert 0.5 < np.mean(shares) < 0.6


def test_noise_is_a_share_of_the_mean_level() -> None:
    ranges = ViewRanges(**(vars(PLAIN) | {"size_px": 256, "noise_share": (0.2, 0.2)}))
    grey = np.full((256, 256), 100, dtype=np.uint8)
    noisy = random_view(grey, ranges, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(20, rel=0.02)
    assert noisy.mean() == pytest.approx(100, abs=0.5)


def test_half_of_the_views_are_mirrored() -> None:
    ranges = ViewRanges(**(vars(PLAIN) | {"flip_probability": 0.5}))
    ramp = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    generator = np.random.default_rng(0)
    mirrored = sum(int(random_view(ramp, ranges, generator)[0, 0] == 31) for _ in range(400))
    assert 160 < mirrored < 240


def pairs(store: Store, seed: int = 0) -> ViewPairs:
    return ViewPairs(store, range(len(store)), FULL, INTENSITY, seed)


def test_views_depend_on_seed_epoch_image_and_view_and_nothing_else(store: Store) -> None:
    first = pairs(store)[Visit(0, 3)]
    assert torch.equal(first, pairs(store)[Visit(0, 3)])
    assert first.shape == (2, 1, 32, 32)
    assert first.dtype == torch.uint8
    others = [first[1], pairs(store)[Visit(1, 3)][0], pairs(store, seed=1)[Visit(0, 3)][0]]
    assert not any(torch.equal(first[0], other) for other in others)


def test_views_do_not_depend_on_the_number_of_workers(store: Store) -> None:
    batches = BatchPlan(len(store), batch_size=8, num_epochs=1, seed=0).batches()
    alone = list(view_loader(pairs(store), batches, num_workers=0))
    helped = list(view_loader(pairs(store), batches, num_workers=2))
    assert len(alone) == 4
    assert all(torch.equal(one, two) for one, two in zip(alone, helped, strict=True))


def test_detection_mirrors_image_and_boxes_together(store: Store) -> None:
    examples = [e for e in examples_of(store, fusion="consensus", iou=0.2) if len(e.boxes)]
    plain, mirrored = (
        DetectionImages(store, examples, INTENSITY, flip_probability=p, seed=0)[Visit(0, 0)]
        for p in (0.0, 1.0)
    )
    assert torch.equal(plain[0].flip(-1), mirrored[0])
    x_min, x_max = plain[1]["boxes"][:, 0], plain[1]["boxes"][:, 2]
    assert torch.allclose(mirrored[1]["boxes"][:, 0], 64 - x_max)
    assert torch.allclose(mirrored[1]["boxes"][:, 2], 64 - x_min)
    assert plain[1]["labels"].min() >= 1
