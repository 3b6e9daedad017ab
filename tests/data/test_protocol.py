"""Splits and label shares: functions of the image id or the table's order, nested, no overlap."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.core.errors import DataError
from cxrssl.data.protocol import (
    PROTOCOLS,
    LabelOrder,
    Protocol,
    labelled_ids,
    pool_ids,
    split_images,
    split_of,
)

IDS = [f"image-{number}" for number in range(2000)]
SHARES = (0.1, 0.3, 0.5, 0.9, 1.0)


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


@given(st.permutations(IDS[:60]), st.integers(0, 60))
def test_corrected_and_described_do_not_depend_on_the_order_of_rows(
    order: list[str], left_out: int
) -> None:
    for protocol in ("corrected", "described"):
        assert split_images(order, protocol=protocol) == split_images(IDS[:60], protocol=protocol)
    fewer = split_images(order[left_out:], protocol="corrected")
    assert all(split == split_of(name) for name, split in fewer.items())


def test_published_takes_the_order_of_the_table() -> None:
    result = split_images(IDS[:10], protocol="published")
    assert list(result.values()) == ["train"] * 7 + ["val"] + ["test"] * 2
    assert next(iter(split_images(IDS[9::-1], protocol="published"))) == "image-9"


def test_described_shuffles_before_it_cuts() -> None:
    result = split_images(IDS, protocol="described")
    assert [list(result.values()).count(split) for split in ("train", "val", "test")] == [
        1400, 200, 400,
    ]  # fmt: skip
    train = [split == "train" for split in result.values()]
    assert 0.6 < sum(train[:1000]) / 1000 < 0.8


def test_an_official_test_part_is_the_test_split_of_corrected_and_no_part_of_the_others() -> None:
    parts = {name: "test" if number % 5 == 0 else "train" for number, name in enumerate(IDS)}
    corrected = split_images(IDS, protocol="corrected", parts=parts)
    assert all((corrected[name] == "test") == (parts[name] == "test") for name in IDS)
    assert list(corrected.values()).count("val") == pytest.approx(200, abs=40)
    for protocol in ("published", "described"):
        result = split_images(IDS, protocol=protocol, parts=parts)
        assert set(result) == {name for name in IDS if parts[name] == "train"}


@settings(max_examples=50)
@given(st.integers(2, 200), st.integers(1, 99), st.integers(0, 5), st.sampled_from(PROTOCOLS))
def test_pool_and_labels_share_nothing_and_leave_nothing(
    number: int, percent: int, seed: int, protocol: Protocol
) -> None:
    ids = IDS[:number]
    try:
        pool = pool_ids(ids, fraction=percent / 100, seed=seed, protocol=protocol)
        labelled = labelled_ids(ids, fraction=(100 - percent) / 100, seed=seed, protocol=protocol)
    except DataError:
        assert (1 - percent / 100) * number < 1 or percent / 100 * number <= 1
        return
    assert sorted(pool + labelled) == sorted(ids)


@given(st.integers(0, 3), st.permutations(IDS[:40]), st.sampled_from(PROTOCOLS))
def test_smaller_fractions_lie_inside_larger_ones(
    seed: int, order: list[str], protocol: Protocol
) -> None:
    sets = [
        set(labelled_ids(order, fraction=share, seed=seed, protocol=protocol)) for share in SHARES
    ]
    assert all(small < large for small, large in pairwise(sets))
    if protocol != "published":
        again = [
            set(labelled_ids(IDS[:40], fraction=share, seed=seed, protocol=protocol))
            for share in SHARES
        ]
        assert sets == again


def test_published_hides_the_labels_of_the_first_images() -> None:
    pool = pool_ids(IDS[:10], fraction=0.3, seed=7, protocol="published")
    assert pool == ["image-0", "image-1", "image-2"]


def test_another_seed_labels_other_images() -> None:
    first, second = (
        set(labelled_ids(IDS, fraction=0.1, seed=seed, protocol="corrected")) for seed in (0, 1)
    )
    assert len(first & second) < 60


def test_the_papers_table_one_counts_labels_cut_not_rounded() -> None:
    ids = [f"image-{number}" for number in range(3075)]
    for protocol in ("published", "described"):
        counts = [
            len(labelled_ids(ids, fraction=1 - pool / 10, seed=0, protocol=protocol))
            for pool in range(10)
        ]
        assert counts == [3075, 2767, 2460, 2152, 1845, 1537, 1230, 922, 615, 307]


def test_a_fraction_that_is_no_image_is_an_error() -> None:
    with pytest.raises(DataError, match="1% of 10 training images is none"):
        labelled_ids(IDS[:10], fraction=0.01, seed=0, protocol="corrected")
    with pytest.raises(DataError, match="a pool of 1% of 10 training images is none"):
        pool_ids(IDS[:10], fraction=0.01, seed=0, protocol="corrected")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("order", ["table", "seeded", None])
@pytest.mark.parametrize("fraction", [0.1, 0.35, 0.9])
def test_pool_and_labels_part_the_images_in_any_order(
    protocol: Protocol, order: LabelOrder | None, fraction: float
) -> None:
    names = [f"image{number:03d}" for number in range(137)]
    rule = {"seed": 3, "protocol": protocol, "label_order": order}
    seen = labelled_ids(names, fraction=fraction, **rule)  # type: ignore[arg-type]
    pool = pool_ids(names, fraction=round(1 - fraction, 9), **rule)  # type: ignore[arg-type]
    assert sorted([*seen, *pool]) == names
    plain = labelled_ids(names, fraction=fraction, seed=3, protocol=protocol)
    assert len(seen) == len(plain)  # how a share is rounded stays the protocol's
    assert (seen == plain) == (order is None or (order == "table") == (protocol == "published"))


def test_the_order_of_the_table_gives_the_pool_its_first_images() -> None:
    names = [f"image{number:03d}" for number in (5, 3, 9, 1, 7, 2, 8, 0, 6, 4)]
    pool = pool_ids(names, fraction=0.3, seed=1, protocol="corrected", label_order="table")
    assert pool == sorted(names[:3])
