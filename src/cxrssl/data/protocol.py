"""Which image is for training, validation or test, and which labels a run may see.

| protocol | split | pool of x % |
|---|---|---|
| `published` | 70/10/20 in the order of the table, as the paper's code has it | the first x % |
| `described` | 70/10/20 of a seeded shuffle, as the paper's text has it | a seeded x % |
| `corrected` | a hash of the image id, so adding or reordering rows moves no image | a seeded x % |

The first two know only images with findings, and leave a source's official test part out.
`corrected` takes a source's own parts where there are such, of train, val and test what there is,
and keeps the images of one patient together: the hash is the patient's, and a share of the labels
is one of whole patients, as near to it as these come. Labelled sets are nested: that of
a smaller fraction lies inside that of a larger one, and a pool is what its labelled set leaves.
Which pool it is, the first or a seeded one, may be stated apart from the split (`label_order`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
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


def split_of(name: str, *, part: str = "", has_val: bool = False) -> Split:
    """Return the split of an image under `corrected`: a function of its patient or id, and part.

    Args:
        name: The patient where one is known, else the id of the image.
        part: "train", "val" or "test" if the source itself divides its images, else "".
        has_val: Whether any image of the source is of its part "val".
    """
    position = _hash_in_unit(f"split/{name}")
    if part == "train" and not has_val:
        return "train" if position < _OFFICIAL_TRAIN_BELOW else "val"
    if part:
        return "train" if part == "train" else "val" if part == "val" else "test"
    if position < TRAIN_FRACTION:
        return "train"
    return "val" if position < _VAL_BELOW else "test"


def split_images(
    ids: Sequence[str],
    *,
    protocol: Protocol,
    parts: Mapping[str, str] | None = None,
    patients: Mapping[str, str] | None = None,
) -> dict[str, Split]:
    """Divide images into train, val and test.

    Args:
        ids: Distinct images in the order of their table; for `published` and `described` those with
            findings alone.
        protocol: Rule of the split.
        parts: Part of each image, "train", "val" or "test", where the source has such; images of
            the part "unused" are left out.
        patients: Patient of each image, where one is known; `corrected` alone looks at them.

    Returns:
        The split of every image that takes part, in the order of `ids`.

    Raises:
        DataError: If the source has a division with validation images, or one that leaves images
            out, and the protocol can't follow it.
    """
    part_of, patient_of = parts or {}, patients or {}
    own_parts = set(part_of.values())
    if protocol == "corrected":
        return {
            name: split_of(
                patient_of.get(name) or name,
                part=part_of.get(name, ""),
                has_val="val" in own_parts,
            )
            for name in ids
            if part_of.get(name) != "unused"
        }
    if own_parts & {"val", "unused"}:
        raise DataError(
            f"the source says which images are for training, validation and test, and protocol "
            f"{protocol} divides them by the order of the table. Take protocol corrected, which "
            "follows the source, or ingest with --split none."
        )
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


def folds_of(ids: Iterable[str], *, patients: Mapping[str, str], num_folds: int) -> dict[str, int]:
    """Return the fold, from 1, in whose test each image is: as many images in each as can be.

    Args:
        ids: Images; their order is of no importance.
        patients: Patient of each image of which one is known; all images of one are in one fold.
        num_folds: Number of folds.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(ids):
        groups.setdefault(patients.get(name) or name, []).append(name)
    sizes = [0] * num_folds
    fold_of: dict[str, int] = {}
    for key in sorted(groups, key=lambda key: (_hash_in_unit(f"folds/{key}"), key)):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(groups[key])
        fold_of |= dict.fromkeys(groups[key], smallest + 1)
    return fold_of


def labelled_ids(
    train_ids: Iterable[str],
    *,
    fraction: float,
    seed: int,
    protocol: Protocol,
    label_order: LabelOrder | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the training images whose labels a run at `fraction` in (0, 1] may see, sorted by id.

    Args:
        train_ids: Training images, in the order of their table.
        fraction: Fraction of them whose labels are used.
        seed: Seed of the run; not used for `table`.
        protocol: Rule of the split.
        label_order: Whose labels are used first; None for the protocol's own order, `table`
            for `published` and `seeded` for the others.
        patients: Patient of each image, where one is known; `table` does not look at them.

    Raises:
        DataError: If that is no image at all.
    """
    order = _order(train_ids, seed, order_of(protocol, label_order), patients or {})
    labelled = order.first(fraction, protocol)
    if not labelled:
        raise DataError(
            f"{100 * fraction:g}% of {order.num_images} training images is none. "
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
    patients: Mapping[str, str] | None = None,
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
        patients: Patient of each image, where one is known: no image of a patient whose labels are
            seen is in the pool.

    Raises:
        DataError: If that is no image at all.
    """
    names = list(train_ids)
    among = names if labelled_of is None else list(labelled_of)
    patient_of = patients or {}
    order = _order(among, seed, order_of(protocol, label_order), patient_of)
    labelled = set(order.first(1 - fraction, protocol))
    if order.is_by_patient:
        seen = {patient_of.get(name) or name for name in labelled}
        pool = [name for name in names if (patient_of.get(name) or name) not in seen]
    else:
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


@dataclass(frozen=True)
class _Order:
    """Training images, those whose labels are seen first at the front.

    Attributes:
        groups: Images that are seen together: those of a patient, or one.
        is_by_patient: Whether images of a patient are together.
    """

    groups: list[list[str]]
    is_by_patient: bool

    @property
    def num_images(self) -> int:
        return sum(map(len, self.groups))

    def first(self, fraction: float, protocol: Protocol) -> list[str]:
        """Return a share of the images: whole groups, as near to it as they come."""
        # Rounded before it is cut: 1 - 0.9 is 0.09999999999999998, and 0.1 * 30 is
        # 3.0000000000000004.
        exact = round(round(fraction, 9) * self.num_images, 6)
        # The paper's table I counts 2767 of 3075 images at 90 %, that is 2767.5 cut.
        count = round(exact) if protocol == "corrected" else floor(exact)
        ends = [0, *accumulate(map(len, self.groups))]
        nearest = min(range(len(ends)), key=lambda number: abs(ends[number] - count))
        if not nearest and count and self.groups:
            nearest = 1  # one patient may have more images than the share
        return [name for group in self.groups[:nearest] for name in group]


def _order(
    train_ids: Iterable[str], seed: int, label_order: LabelOrder, patients: Mapping[str, str]
) -> _Order:
    if label_order == "table":
        return _Order([[name] for name in list(train_ids)[::-1]], is_by_patient=False)
    groups: dict[str, list[str]] = {}
    for name in sorted(train_ids):
        groups.setdefault(patients.get(name) or name, []).append(name)
    keys = sorted(groups, key=lambda key: (_hash_in_unit(f"labels/{seed}/{key}"), key))
    return _Order([groups[key] for key in keys], is_by_patient=True)


def _hash_in_unit(text: str) -> float:
    """Return a number in [0, 1) that is uniform over texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
