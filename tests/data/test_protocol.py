"""Splits and fractions: functions of the image id, nested, and without overlap."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.core.errors import DataError
from cxrssl.data.protocol import labelled_ids, pool_ids, split_of

IDS = [f"image-{number}" for number in range(2000)]


def test_splits_are_seventy_ten_twenty() -> None:
    counts = {
        split: sum(split_of(name) == split for name in IDS) for split in ("train", "val", "test")
    }
    assert counts["train"] == pytest.approx(1400, abs=60)
    assert counts["val"] == pytest.approx(200, abs=40)
    assert counts["test"] == pytest.approx(400, abs=50)


def test_the_split_of_an_image_never_changes() -> None:
    assert [split_of(name) for name in ("image-0", "image-5", "image-6")] == [
        "train",
        "test",
        "val",
    ]


@settings(max_examples=50)
@given(st.integers(2, 200), st.integers(1, 99), st.integers(0, 5))
def test_pool_and_labels_share_nothing_and_leave_nothing(
    number: int, percent: int, seed: int
) -> None:
    ids = IDS[:number]
    count = round((1 - percent / 100) * number)
    if count in (0, number):
        return
    pool = pool_ids(ids, fraction=percent / 100, seed=seed)
    labelled = labelled_ids(ids, fraction=(100 - percent) / 100, seed=seed)
    assert sorted(pool + labelled) == sorted(ids)


@given(st.integers(0, 3), st.permutations(IDS[:40]))
def test_smaller_fractions_lie_inside_larger_ones_in_any_order(seed: int, order: list[str]) -> None:
    sets = [set(labelled_ids(order, fraction=f, seed=seed)) for f in (0.1, 0.3, 0.5, 0.9, 1.0)]
    assert all(small < large for small, large in pairwise(sets))


def test_another_seed_labels_other_images() -> None:
    first, second = (set(labelled_ids(IDS, fraction=0.1, seed=seed)) for seed in (0, 1))
    assert len(first & second) < 60


def test_a_fraction_that_is_no_image_is_an_error() -> None:
    with pytest.raises(DataError, match="1% of 10 training images is none"):
        labelled_ids(IDS[:10], fraction=0.01, seed=0)
    with pytest.raises(DataError, match="a pool of 1% of 10 training images is none"):
        pool_ids(IDS[:10], fraction=0.01, seed=0)
