"""Near-duplicates: a copy is found however it was changed, and different chests are not copies."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrssl.core.images import resized
from cxrssl.data.duplicates import near_duplicates, perceptual_hash
from cxrssl.data.store import Store

SIDE = 64


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    small = resized(pixels.astype(np.float32), height=SIDE, width=SIDE)
    return np.rint(np.clip(small, 0, 255)).astype(np.uint8)


def pairs(images: list[np.ndarray]) -> list[tuple[int, int]]:
    thumbnails = [thumbnail(image) for image in images]
    hashes = np.array([perceptual_hash(image) for image in thumbnails])
    return [(twins.first, twins.second) for twins in near_duplicates(hashes, thumbnails)]


def compressed(pixels: np.ndarray) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=30)
    return np.asarray(Image.open(content))


CHANGES = {
    "same": lambda x: x,
    "jpeg": compressed,
    "smaller": lambda x: cv2.resize(x, (48, 48), interpolation=cv2.INTER_AREA),
    "gamma": lambda x: (255 * (x / 255.0) ** 1.5).astype(np.uint8),
    "equalised": cv2.equalizeHist,
    "window": lambda x: np.clip(x * 1.1 - 10, 0, 255).astype(np.uint8),
}


@pytest.fixture(scope="module")
def chests(store: Store) -> list[np.ndarray]:
    return [store.pixels(row) for row in range(len(store))]


def test_different_chests_are_not_copies(chests: list[np.ndarray]) -> None:
    assert pairs(chests) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(chests: list[np.ndarray], change: str) -> None:
    copies = [CHANGES[change](image) for image in chests[:10]]
    assert pairs(chests + copies) == [(row, len(chests) + row) for row in range(10)]


def test_a_pair_is_named_once_with_its_bits_and_correlation(chests: list[np.ndarray]) -> None:
    thumbnails = [thumbnail(image) for image in (chests[0], chests[1], chests[0])]
    hashes = np.array([perceptual_hash(image) for image in thumbnails])
    (result,) = near_duplicates(hashes, thumbnails)
    assert (result.first, result.second, result.num_bits) == (0, 2, 0)
    assert result.correlation == pytest.approx(1)


def test_empty_images_and_no_images_are_no_trouble() -> None:
    black = np.zeros((SIDE, SIDE), np.uint8)
    assert pairs([black, black]) == []
    assert near_duplicates(np.zeros((0, 256), bool), []) == []


def test_many_copies_of_one_image_are_each_compared_with_the_first(
    chests: list[np.ndarray],
) -> None:
    images = [chests[0], *([chests[1]] * 2000)]
    assert pairs(images) == [(1, row) for row in range(2, 2001)]


@pytest.mark.slow
def test_thirty_thousand_hashes_are_compared_in_seconds_not_hours() -> None:
    hashes = np.random.default_rng(0).random((30_000, 256)) < 0.5
    hashes[7] = hashes[20_000]
    hashes[7, :20] ^= True
    thumbnails = [np.array([[0, 1]], np.uint8)] * len(hashes)
    (result,) = near_duplicates(hashes, thumbnails)
    assert (result.first, result.second, result.num_bits) == (7, 20_000, 20)
