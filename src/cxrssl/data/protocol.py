"""Which image is for training, validation or test, and which labels a run may see.

| protocol | split | pool of x % |
|---|---|---|
| `published` | 70/10/20 in the order of the table, as the paper's code has it | the first x % |
| `described` | 70/10/20 of a seeded shuffle, as the paper's text has it | a seeded x % |
| `corrected` | a hash of the image id, so adding or reordering rows moves no image | a seeded x % |

The first two know only images with findings, and leave a source's official test part out.
`corrected` takes that part as its test split where there is one. Labelled sets are nested: that of
a smaller fraction lies inside that of a larger one, and a pool is what its labelled set leaves.
Which pool it is, the first or a seeded one, may be stated apart from the split (`label_order`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from math import floor
from typing import Literal

import numpy as np

from cxrssl.core.errors import DataError

Split = Literal["train", "val", "test"]
Protocol = Literal["published", "described", "corrected"]
LabelOrder = Literal["table", "seeded"]
"""Whose labels are seen first: the last images of the table's order, or those of a seeded draw."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PROTOCOLS: tuple[Protocol, ...] = ("published", "described", "corrected")

TRAIN_FRACTION = 0.7
"""Of the images that no official part divides: 70/10/20, the paper's section II.A."""
_VAL_BELOW = 0.8
# Of an official training part, which needs no test images of its own: 70 to 10.
_OFFICIAL_TRAIN_BELOW = 0.875
# The paper names no seed for its split; one for all runs keeps their test images the same.
_SPLIT_SEED = 0


def split_of(image_id: str, *, part: str = "") -> Split:
    """Return the split of an image under `corrected`: a function of its id and official part.

    Args:
        image_id: Id of the image.
        part: "train" or "test" if the source itself divides its images, else "".
    """
    position = _hash_in_unit(f"split/{image_id}")
    if part:
        return "test" if part == "test" else "train" if position < _OFFICIAL_TRAIN_BELOW else "val"
    if position < TRAIN_FRACTION:
        return "train"
    return "val" if position < _VAL_BELOW else "test"


def split_images(
    ids: Sequence[str], *, protocol: Protocol, parts: Mapping[str, str] | None = None
) -> dict[str, Split]:
    """Divide images into train, val and test.

    Args:
        ids: Distinct images in the order of their table; for `published` and `described` those with
            findings alone.
        protocol: Rule of the split.
        parts: Official part of each image, "train" or "test", where the source has such.

    Returns:
        The split of every image that takes part, in the order of `ids`.
    """
    part_of = parts or {}
    if protocol == "corrected":
        return {name: split_of(name, part=part_of.get(name, "")) for name in ids}
    order = [name for name in ids if part_of.get(name) != "test"]
    if protocol == "described":
        shuffled = np.random.default_rng(_SPLIT_SEED).permutation(len(order))
        by_id = sorted(order)
        order = [by_id[place] for place in shuffled]
    ends = int(TRAIN_FRACTION * len(order)), int(_VAL_BELOW * len(order))
    splits: dict[str, Split] = dict.fromkeys(order[: ends[0]], "train")
    splits |= dict.fromkeys(order[ends[0] : ends[1]], "val")
    splits |= dict.fromkeys(order[ends[1] :], "test")
    return {name: splits[name] for name in ids if name in splits}


def labelled_ids(
    train_ids: Iterable[str],
    *,
    fraction: float,
    seed: int,
    protocol: Protocol,
    label_order: LabelOrder | None = None,
) -> list[str]:
    """Return the training images whose labels a run at `fraction` in (0, 1] may see, sorted by id.

    Args:
        train_ids: Training images, in the order of their table.
        fraction: Fraction of them whose labels are used.
        seed: Seed of the run; not used for `table`.
        protocol: Rule of the split.
        label_order: Whose labels are used first; None for the protocol's own order, `table`
            for `published` and `seeded` for the others.

    Raises:
        DataError: If that is no image at all.
    """
    order = _order(train_ids, seed, order_of(protocol, label_order))
    labelled = order[: _count(order, fraction, protocol)]
    if not labelled:
        raise DataError(
            f"{100 * fraction:g}% of {len(order)} training images is none. "
            "Take a larger fraction or more images."
        )
    return sorted(labelled)


def pool_ids(
    train_ids: Iterable[str],
    *,
    fraction: float,
    seed: int,
    protocol: Protocol,
    label_order: LabelOrder | None = None,
    labelled_of: Iterable[str] | None = None,
) -> list[str]:
    """Return the unlabelled pool, sorted by id: all training images but those of `labelled_ids`.

    Args:
        train_ids: Training images of the pool, in the order of their table.
        fraction: Share in (0, 1] of the training images whose labels are hidden.
        seed: Seed of the run.
        protocol: Rule of the split.
        label_order: Whose labels are used first; see `labelled_ids`.
        labelled_of: Training images of which the others are labelled, in the order of their table,
            where they are not those of the pool: one may hold images without findings and the other
            not.

    Raises:
        DataError: If that is no image at all.
    """
    names = list(train_ids)
    among = names if labelled_of is None else list(labelled_of)
    order = _order(among, seed, order_of(protocol, label_order))
    labelled = set(order[: _count(order, 1 - fraction, protocol)])
    pool = [name for name in names if name not in labelled]
    if not pool:
        raise DataError(
            f"a pool of {100 * fraction:g}% of {len(names)} training images is none. "
            "Take a larger fraction or more images."
        )
    return sorted(pool)


def order_of(protocol: Protocol, label_order: LabelOrder | None) -> LabelOrder:
    """Return whose labels are seen first: what is stated, or else what the protocol says."""
    return label_order or ("table" if protocol == "published" else "seeded")


def _count(order: list[str], fraction: float, protocol: Protocol) -> int:
    # Rounded before it is cut: 1 - 0.9 is 0.09999999999999998, and 0.1 * 30 is 3.0000000000000004.
    exact = round(round(fraction, 9) * len(order), 6)
    # The paper's table I counts 2767 of 3075 images at 90 %, that is 2767.5 cut.
    return round(exact) if protocol == "corrected" else floor(exact)


def _order(train_ids: Iterable[str], seed: int, label_order: LabelOrder) -> list[str]:
    """Return the images, those whose labels are seen first at the front."""
    if label_order == "table":
        return list(train_ids)[::-1]
    return sorted(train_ids, key=lambda name: (_hash_in_unit(f"labels/{seed}/{name}"), name))


def _hash_in_unit(text: str) -> float:
    """Return a number in [0, 1) that is uniform over texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
