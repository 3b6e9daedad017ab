"""Image arithmetic: resampling keeps means, equalising fills the range, blur spreads a point."""

import numpy as np

from cxrssl.core.images import Intensity, blurred, equalized, resized


def test_shrinking_by_a_whole_factor_averages_blocks() -> None:
    levels = np.arange(16, dtype=np.float32).reshape(4, 4)
    blocks = levels.reshape(2, 2, 2, 2).mean(axis=(1, 3))
    assert np.array_equal(resized(levels, height=2, width=2), blocks)


def test_equalising_fills_the_range_and_keeps_the_order() -> None:
    pixels = np.repeat(np.arange(100, 132, dtype=np.uint8), 32).reshape(32, 32)
    found = equalized(pixels)
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found[:, 0].astype(int)) > 0).all()


def test_intensity_without_equalisation_leaves_pixels_alone() -> None:
    pixels = np.full((4, 4), 7, dtype=np.uint8)
    assert Intensity(equalize=False, mean=0.5, std=0.25).prepare(pixels) is pixels


def test_blur_spreads_a_point_by_its_sigma() -> None:
    point = np.zeros((41, 41), dtype=np.float32)
    point[20, 20] = 1
    found = blurred(point, sigma_px=2.0, kernel_px=21)
    variance = float((found * (np.arange(41) - 20) ** 2).sum() / found.sum())
    assert abs(variance**0.5 - 2.0) < 0.05


def test_blur_narrower_than_a_pixel_leaves_the_image_alone() -> None:
    point = np.eye(5, dtype=np.float32)
    assert np.allclose(blurred(point, sigma_px=0.05, kernel_px=21), point, atol=1e-6)
