"""What each image is, normal, with another finding or with boxes: false positives are told by it.

An image without boxes is not called normal unless somebody read it so.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.index import Index
from cxrssl.metrics.annotations import Flags, Truth
from cxrssl.metrics.froc import without_boxes

if TYPE_CHECKING:  # files are scored without what reads a store
    from cxrssl.data.detection import Example
    from cxrssl.data.store import Store

Kind = Literal["with boxes", "normal", "other finding", "without boxes", "not read"]
"""`without boxes` is a COCO file's image without annotations, of which it says no more."""
KINDS: tuple[Kind, ...] = get_args(Kind)
STATED: tuple[Kind, ...] = ("normal", "other finding")
"""What an image's entry in a COCO file may say as its `kind`."""


def kinds_of(store: "Store", examples: "Sequence[Example]") -> tuple[Kind, ...]:
    """Return the kind of each image of a store, by its source and what its readers marked.

    Marks that the truth leaves out, as under `majority:2`, are another finding. An image that
    nobody marked, not even "No finding", was not read.
    """
    return tuple(_kind(example, store.images[example.row].kind) for example in examples)


def _kind(example: "Example", stated: str) -> Kind:
    if len(example.boxes):
        return "with boxes"
    if example.readers or stated == "other finding":
        return "other finding"
    if not example.looked:
        return "not read"
    return "normal" if stated == "normal" else "without boxes"


def kinds_of_file(index: Index, truth: Truth) -> tuple[Kind, ...]:
    """Return the kind of each image of a COCO document, as its entry states or its boxes say.

    Raises:
        DataError: If an entry states a kind that there is not, or a normal image has boxes.
    """
    empty = without_boxes(truth)
    kinds: list[Kind] = []
    stated = index.kinds or (None,) * len(empty)
    for key, kind, is_empty in zip(index.images, stated, empty.tolist(), strict=True):
        if kind not in (None, *STATED):
            raise DataError(
                f"{index.path}: image {key!r} is of kind {kind!r}; expected "
                f"{' or '.join(map(repr, STATED))}, or none."
            )
        if kind == "normal" and not is_empty:
            raise DataError(
                f"{index.path}: image {key!r} is of kind 'normal', and annotations name it. Take "
                "out the one or the other."
            )
        found: Kind = "without boxes" if kind is None else kind
        kinds.append(found if is_empty else "with boxes")
    return tuple(kinds)


def normal_of(kinds: Sequence[Kind]) -> Flags:
    """Return [N] which images count as normal: read so, or as COCO has it without boxes."""
    return np.array([kind in ("normal", "without boxes") for kind in kinds], bool)


def images_of(kinds: Sequence[Kind]) -> dict[Kind, Flags]:
    """Return [N] the images of each kind that there is, by kind."""
    names = np.array(kinds, np.str_)
    return {kind: names == kind for kind in KINDS if (names == kind).any()}
