"""Which image is for training, validation or test, and which labels a run may see.

Protocol `corrected`: an image's split is a hash of its id, so adding or reordering files moves no
image. Labelled sets are nested: that of a smaller fraction lies inside that of a larger one.
The pool of x % is what the labelled set of (100 - x) % leaves.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

from cxrssl.core.errors import DataError

Split = Literal["train", "val", "test"]

# 70/10/20, the paper's section II.A.
_TRAIN_BELOW, _VAL_BELOW = 0.7, 0.8


def split_of(image_id: str) -> Split:
    """Return the split of an image: a function of its id alone."""
    place = _hash_in_unit(f"split/{image_id}")
    if place < _TRAIN_BELOW:
        return "train"
    return "val" if place < _VAL_BELOW else "test"


def labelled_ids(train_ids: Iterable[str], *, fraction: float, seed: int) -> list[str]:
    """Return the training images whose labels a run at `fraction` in (0, 1] may see, sorted by id.

    Raises:
        DataError: If that is no image at all.
    """
    order = _order(train_ids, seed)
    kept = order[: _count(order, fraction)]
    if not kept:
        raise DataError(
            f"{fraction:.0%} of {len(order)} training images is none. "
            "Take a larger fraction or more images."
        )
    return sorted(kept)


def pool_ids(train_ids: Iterable[str], *, fraction: float, seed: int) -> list[str]:
    """Return the unlabelled pool of `fraction` in (0, 1], sorted by id: what `labelled_ids` leaves.

    Raises:
        DataError: If that is no image at all.
    """
    order = _order(train_ids, seed)
    pool = order[_count(order, 1 - fraction) :]
    if not pool:
        raise DataError(
            f"a pool of {fraction:.0%} of {len(order)} training images is none. "
            "Take a larger fraction or more images."
        )
    return sorted(pool)


def _count(order: list[str], fraction: float) -> int:
    # Rounded before it is cut: 1 - 0.9 is 0.09999999999999998, and 0.1 * 30 is 3.0000000000000004.
    return round(round(fraction, 9) * len(order))


def _order(train_ids: Iterable[str], seed: int) -> list[str]:
    return sorted(train_ids, key=lambda name: (_hash_in_unit(f"labels/{seed}/{name}"), name))


def _hash_in_unit(text: str) -> float:
    """Return a number in [0, 1) that is uniform over texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56
