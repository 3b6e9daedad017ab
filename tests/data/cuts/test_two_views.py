"""Views: functions of (seed, epoch, image, view), spread as their ranges say."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from cxrssl.core.images import Intensity, Pixels
from cxrssl.core.pixels import rescaled
from cxrssl.data.cuts.two_views import (
    TwoViews,
    ViewDraw,
    ViewRanges,
    draw_view,
    random_crop,
    random_view,
    view_generator,
    view_of,
)
from cxrssl.data.detection import examples_of
from cxrssl.data.loaders import DetectionImages, PoolImages, pool_loader
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image
from cxrssl.data.sampling import BatchPlan, Visit
from cxrssl.data.store import Store

PLAIN = ViewRanges(
    size_px=32,
    crop_area=(1.0, 1.0),
    crop_aspect=(1.0, 1.0),
    flip_probability=0.0,
    blur_sigma_px=(0.0, 0.0),
    blur_kernel_px=21,
    noise_share=(0.0, 0.0),
    noise_draw="uniform",
)
FULL = ViewRanges(
    size_px=32,
    crop_area=(0.2, 1.0),
    crop_aspect=(0.75, 4 / 3),
    flip_probability=0.5,
    blur_sigma_px=(0.1, 1.0),
    blur_kernel_px=21,
    noise_share=(0.125, 0.25),
    noise_draw="uniform",
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


# The paper's ranges at its size, on which the statistics below are taken.
PAPER = ViewRanges(
    size_px=512,
    crop_area=(0.2, 1.0),
    crop_aspect=(0.75, 4 / 3),
    flip_probability=0.5,
    blur_sigma_px=(0.1, 2.0),
    blur_kernel_px=21,
    noise_share=(0.125, 0.25),
    noise_draw="uniform",
)


def drawn(ranges: ViewRanges, number: int = 4000) -> list[ViewDraw]:
    return [draw_view(512, 512, ranges, view_generator(0, 0, row, 0)) for row in range(number)]


def test_crops_are_spread_as_torchvisions() -> None:
    torch.manual_seed(0)  # torchvision draws from the global generator
    image = torch.zeros(1, 512, 512)
    theirs = [RandomResizedCrop.get_params(image, [0.2, 1.0], [0.75, 4 / 3]) for _ in range(4000)]
    ours = [(draw.top, draw.left, draw.height, draw.width) for draw in drawn(PAPER)]
    for one, two in zip(spread_of(ours), spread_of(theirs), strict=True):
        assert stats.ks_2samp(one, two).pvalue > 0.001


def spread_of(crops: list[tuple[int, int, int, int]]) -> list[np.ndarray]:
    top, left, height, width = np.array(crops).T
    return [height * width, width / height, top, left + width / 2]


def test_sigmas_of_blur_and_noise_are_uniform_in_their_ranges() -> None:
    draws = drawn(PAPER)
    for values, (least, largest) in (
        ([draw.blur_sigma_px for draw in draws], (0.1, 2.0)),
        ([draw.noise_share for draw in draws], (0.125, 0.25)),
        ([draw.noise_place for draw in draws], (0.0, 1.0)),
    ):
        assert stats.kstest(values, stats.uniform(least, largest - least).cdf).pvalue > 0.001
    assert 0.47 < np.mean([draw.is_mirrored for draw in draws]) < 0.53


def test_the_published_noise_divides_the_mean_by_four_to_seven() -> None:
    ranges = dataclasses.replace(PAPER, noise_share=(1 / 7, 1 / 4), noise_draw="divisor")
    shares, counts = np.unique([draw.noise_share for draw in drawn(ranges)], return_counts=True)
    assert shares.tolist() == [1 / 7, 1 / 6, 1 / 5, 1 / 4]
    assert stats.chisquare(counts).pvalue > 0.001


def stated(pixels: Pixels, draw: ViewDraw) -> torch.Tensor:
    """Return a view as torchvision makes it in float, with fresh noise: 0..255, [512, 512]."""
    view = torch.from_numpy(pixels.astype(np.float32))[None]
    box = (draw.top, draw.left, draw.height, draw.width)
    view = functional.resized_crop(view, *box, [512, 512], antialias=True)
    view = functional.horizontal_flip(view) if draw.is_mirrored else view
    view = functional.gaussian_blur(view, [21, 21], [draw.blur_sigma_px] * 2)
    noise = torch.normal(0.0, float(draw.noise_share * view.mean()), view.shape)
    return (view + noise).clamp(0, 255)[0]


@pytest.mark.slow
def test_views_have_the_moments_and_detail_of_the_stated_transforms() -> None:
    painted = paint_image(plan_image(PhantomSettings(seed=5), 0), seed=5)
    whole = rescaled(np.rint(255 * painted).astype(np.uint8), height=512, width=512)
    pixels = INTENSITY.prepare(whole)
    torch.manual_seed(0)  # of the reference's noise
    for row in range(12):
        draw = draw_view(512, 512, PAPER, view_generator(1, 0, row, 0))
        ours = torch.from_numpy(view_of(pixels, draw, PAPER).astype(np.float32))
        theirs = stated(pixels, draw)
        assert ours.mean() == pytest.approx(float(theirs.mean()), abs=0.3)
        assert ours.std() == pytest.approx(float(theirs.std()), rel=0.01)
        assert ours.quantile(0.1) == pytest.approx(float(theirs.quantile(0.1)), abs=1.5)
        assert ours.quantile(0.9) == pytest.approx(float(theirs.quantile(0.9)), abs=1.5)
        # Differences of neighbours: what blur and noise leave of detail.
        assert ours.diff().std() == pytest.approx(float(theirs.diff().std()), rel=0.02)
        # And without noise they are one image, pixel by pixel.
        still = dataclasses.replace(draw, noise_share=0.0)
        plain = torch.from_numpy(view_of(pixels, still, PAPER).astype(np.float32))
        assert float((plain - stated(pixels, still)).abs().max()) <= 2.0


def test_half_of_the_views_are_mirrored() -> None:
    ranges = ViewRanges(**(vars(PLAIN) | {"flip_probability": 0.5}))
    ramp = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    generator = np.random.default_rng(0)
    mirrored = sum(int(random_view(ramp, ranges, generator)[0, 0] == 31) for _ in range(400))
    assert 160 < mirrored < 240


def pairs(store: Store, seed: int = 0) -> PoolImages:
    return PoolImages(store, range(len(store)), TwoViews(FULL), INTENSITY, seed)


def views(store: Store, visit: Visit, seed: int = 0) -> torch.Tensor:
    return pairs(store, seed)[visit]["views"]


def test_views_depend_on_seed_epoch_image_and_view_and_nothing_else(store: Store) -> None:
    first = views(store, Visit(0, 3))
    assert torch.equal(first, views(store, Visit(0, 3)))
    assert first.shape == (2, 1, 32, 32)
    assert first.dtype == torch.uint8
    others = [first[1], views(store, Visit(1, 3))[0], views(store, Visit(0, 3), seed=1)[0]]
    assert not any(torch.equal(first[0], other) for other in others)


def test_views_do_not_depend_on_the_number_of_workers(store: Store) -> None:
    batches = BatchPlan(len(store), batch_size=8, num_epochs=1, seed=0).batches()
    alone = list(pool_loader(pairs(store), batches, num_workers=0, pin=False))
    helped = list(pool_loader(pairs(store), batches, num_workers=2, pin=False))
    assert len(alone) == 4
    assert all(
        torch.equal(one["views"], two["views"]) for one, two in zip(alone, helped, strict=True)
    )


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


def test_repeats_of_an_image_in_an_epoch_differ_and_the_first_is_what_it_was(store: Store) -> None:
    examples = [e for e in examples_of(store, fusion="consensus", iou=0.2) if len(e.boxes)]
    images = DetectionImages(store, examples, INTENSITY, flip_probability=0.5, seed=0)
    mirrored = []
    for epoch in range(20):
        plain = torch.from_numpy(images.intensity.prepare(store.pixels(examples[2].row)))
        shown = [images[Visit(epoch, 2, repeat)][0][0] for repeat in range(3)]
        mirrored.append([not torch.equal(one, plain) for one in shown])
        draw = view_generator(0, epoch, examples[2].row, 0).random()
        assert mirrored[-1][0] == (draw < 0.5)
    assert 15 < sum(map(sum, mirrored)) < 45
    assert any(len(set(one)) == 2 for one in mirrored)
    first, second = (views(store, Visit(0, 3, repeat)) for repeat in (0, 1))
    assert not any(torch.equal(one, two) for one in first for two in second)
