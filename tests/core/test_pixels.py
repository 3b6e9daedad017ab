"""Byte arithmetic for views: against torchvision's transforms in float, and against statistics."""

import cv2
import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from cxrssl.core.images import Pixels
from cxrssl.core.pixels import blurred, mirrored, rescaled, with_noise
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image


@pytest.fixture(scope="module")
def film() -> Pixels:
    """Return a made radiograph with detail down to the pixel, [512, 512]."""
    painted = paint_image(plan_image(PhantomSettings(seed=5), 0), seed=5)
    return rescaled(np.rint(255 * painted).astype(np.uint8), height=512, width=512)


def as_float(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32))[None]


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.0, 1.5, 2.0])
def test_blur_is_torchvisions_to_a_grey_level(film: Pixels, sigma: float) -> None:
    result = as_float(blurred(film, sigma_px=sigma, kernel_px=21))
    expected = reference.gaussian_blur(as_float(film), [21, 21], [sigma, sigma])
    # torchvision reflects without repeating the edge, as OpenCV does: the border counts too.
    assert float((result - expected).abs().max()) < 1.0
    assert float((result - expected).abs().mean()) < 0.3


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_dampens_each_frequency_as_the_stated_kernel_does(sigma: float) -> None:
    columns, taps = np.arange(256), np.arange(-10, 11)
    kernel = np.exp(-(taps**2) / (2 * sigma**2))
    for period in (4, 8, 16, 32):
        wave = np.cos(2 * np.pi * columns / period)
        stripes = np.tile(np.rint(128 + 100 * wave), (64, 1)).astype(np.uint8)
        after = blurred(stripes, sigma_px=sigma, kernel_px=21).astype(float)[32] - 128
        gain = 2 * float(after[64:192] @ wave[64:192]) / 128 / 100
        expected = float(kernel @ np.cos(2 * np.pi * taps / period) / kernel.sum())
        assert gain == pytest.approx(expected, abs=0.015)


def test_blur_keeps_the_mean_level(film: Pixels) -> None:
    assert blurred(film, sigma_px=2.0, kernel_px=21).mean() == pytest.approx(film.mean(), abs=0.1)


def test_blur_narrower_than_a_pixel_leaves_the_image_alone(film: Pixels) -> None:
    assert np.array_equal(blurred(film, sigma_px=0.05, kernel_px=21), film)
    assert blurred(film, sigma_px=0.0, kernel_px=21) is film


@pytest.mark.parametrize(("height", "width"), [(512, 512), (700, 1024), (300, 280)])
def test_resampling_is_that_of_floats_rounded(film: Pixels, height: int, width: int) -> None:
    result = rescaled(film, height=height, width=width).astype(np.float32)
    shrinks = height <= 512 and width <= 512
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    expected = cv2.resize(film.astype(np.float32), (width, height), interpolation=method)
    assert result.shape == (height, width)
    assert float(np.abs(result - expected).max()) <= 1.0


def test_enlarging_is_torchvisions_bilinear(film: Pixels) -> None:
    crop = film[100:330, 60:300]
    result = as_float(rescaled(crop, height=512, width=512))
    expected = reference.resize(as_float(crop), [512, 512], antialias=True)
    assert float((result - expected).abs().max()) <= 1.0


def test_mirroring_twice_is_nothing(film: Pixels) -> None:
    assert np.array_equal(mirrored(film), film[:, ::-1])
    assert np.array_equal(mirrored(mirrored(film)), film)


@pytest.mark.parametrize("sigma", [3.0, 16.0, 30.0])
def test_noise_is_normal_with_the_stated_sigma(sigma: float) -> None:
    grey = np.full((512, 512), 128, dtype=np.uint8)
    noise = with_noise(grey, sigma=sigma, place=0.3).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.01 * sigma + 0.02)
    assert noise.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.01)
    assert stats.skew(noise.ravel()) == pytest.approx(0, abs=0.03)
    assert stats.kurtosis(noise.ravel()) == pytest.approx(0, abs=0.06)


def test_noise_of_neighbours_and_of_two_places_is_unrelated() -> None:
    grey = np.full((512, 512), 128, dtype=np.uint8)
    first, second = (
        with_noise(grey, sigma=20, place=place).astype(float) - 128 for place in (0.1, 0.7)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[1:].ravel(), first[:-1].ravel())[0, 1]) < 0.01
    assert np.array_equal(with_noise(grey, sigma=20, place=0.1).astype(float) - 128, first)


def test_noise_is_clipped_and_can_be_none(film: Pixels) -> None:
    assert np.array_equal(with_noise(film, sigma=0.0, place=0.5), film)
    dark = with_noise(np.zeros((64, 64), np.uint8), sigma=30.0, place=0.2)
    assert (dark == 0).mean() == pytest.approx(0.5, abs=0.05)


def test_an_image_larger_than_the_table_still_has_fresh_noise() -> None:
    large = np.full((2100, 2100), 128, dtype=np.uint8)
    noise = with_noise(large, sigma=20.0, place=0.999).astype(float) - 128
    assert noise.std() == pytest.approx(20, rel=0.01)
    assert abs(np.corrcoef(noise[:1000].ravel(), noise[1000:2000].ravel())[0, 1]) < 0.01
