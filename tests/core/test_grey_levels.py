"""Grey levels: what is blank or posterised is named, what a radiograph may be is not."""

import numpy as np
import pytest

from cxrssl.core.grey_levels import grey_levels, is_of_few_levels

FILM = np.random.default_rng(0).normal(120, 40, (200, 200)).clip(0, 255).astype(np.uint8)


def with_border(share: float) -> np.ndarray:
    """Return a film of which a share is black, as outside of a collimator."""
    film = FILM.clip(1).copy()
    film[: round(200 * share)] = 0
    return film


def mostly(level: int, share: float) -> np.ndarray:
    film = FILM.copy()
    film.flat[: round(film.size * share)] = level
    return film


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.full((9, 9), 255, np.uint8), "is blank: every pixel has grey level 255 (white)"),
        (np.full((9, 9), 0, np.uint8), "is blank: every pixel has grey level 0 (black)"),
        (np.full((9, 9), 77, np.uint8), "is blank: every pixel has grey level 77"),
        (mostly(255, 0.985), "is nearly blank: 98.5 % of it has grey level 255 (white)"),
        (np.where(FILM > 120, 255, 0).astype(np.uint8), "is black and white: 100.0 % of it"),
        (FILM // 16, "is posterised: 16 of 256 grey levels are left"),
        (FILM // 16 * 17, "is posterised: 16 of 256 grey levels are left"),
        (FILM // 4, "has hardly any contrast: its grey levels are 0 to 63 of 0 to 255"),
    ],
)
def test_what_no_radiograph_looks_like_is_named(pixels: np.ndarray, text: str) -> None:
    assert text in str(grey_levels(pixels).fault)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.97])
def test_a_film_within_wide_black_borders_is_one(share: float) -> None:
    assert grey_levels(with_border(share)).fault is None


@pytest.mark.parametrize("side", [1, 50, 64, 700])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_few_levels_are_seen_whatever_their_size_and_type(side: int, kind: type) -> None:
    few = np.arange(side * side).reshape(side, side) % 39
    assert is_of_few_levels((few * 6).astype(kind))
    # None of the additional levels need be in a sample.
    more = few.copy()
    more[-1, :] = np.arange(100, 100 + side)
    assert is_of_few_levels(more.astype(kind)) == (side == 1)
