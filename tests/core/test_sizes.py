"""Sizes of one picture: however a tool rounds, a resize is known; a crop or another film is not."""

import math
import random

import pytest

from cxrssl.core.sizes import is_resize_of


@pytest.mark.parametrize("rounded", [round, math.floor, math.ceil])
def test_a_resize_is_known_however_its_sides_are_rounded(rounded: object) -> None:
    rng = random.Random(0)
    for _ in range(2000):
        large = rng.randrange(40, 4000), rng.randrange(40, 4000)
        factor = rng.uniform(0.02, 1)
        small = tuple(max(1, rounded(side * factor)) for side in large)  # type: ignore[operator]
        assert is_resize_of(small, large), (small, large)  # type: ignore[arg-type]
        assert is_resize_of(large, small), (small, large)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((100, 60), (60, 100)),
        ((100, 60), (64, 64)),
        ((1024, 1024), (2540, 3072)),
        ((1000, 1000), (1000, 990)),
        ((2048, 2500), (2022, 2022)),
        ((512, 512), (512, 514)),
    ],
)
def test_another_shape_is_no_resize(first: tuple[int, int], second: tuple[int, int]) -> None:
    assert not is_resize_of(first, second)
    assert not is_resize_of(second, first)
