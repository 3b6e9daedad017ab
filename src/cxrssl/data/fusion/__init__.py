"""Consensus of several readers: one set of boxes out of what each of them drew.

Policies, all over whole tables:

* `consensus`: groups whose mean boxes overlap are merged; any order of rows gives the same boxes.
* `wbf`: weighted boxes fusion exactly as the paper's code ran it; the order of rows matters.
* `union`: every box as drawn, nothing merged.
* `majority:K`: the boxes of `consensus` that at least K readers drew.
* `single:READER`: what one reader drew, as drawn; images that others alone have read are no
  examples then.
"""

import re

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.fusion.linkage import fuse_by_linkage
from cxrssl.data.fusion.marks import (
    MAX_BOXES_PER_CLASS,
    Fused,
    Marks,
    crowded_images,
    fused_from_clusters,
    reader_array,
)
from cxrssl.data.fusion.weighted import fuse_as_published

__all__ = [
    "MAX_BOXES_PER_CLASS",
    "POLICY",
    "Fused",
    "Marks",
    "crowded_images",
    "fuse",
    "reader_array",
    "reader_of",
]

POLICY = r"consensus|wbf|union|majority:[1-9][0-9]*|single:[A-Za-z0-9._-]+"


def fuse(marks: Marks, *, policy: str, iou: float) -> Fused:
    """Make one set of boxes out of the marks of several readers.

    Args:
        marks: N boxes of any number of images.
        policy: `consensus`, `wbf`, `union`, `majority:K` or `single:READER`.
        iou: Overlap above which boxes of one class are one finding, in (0, 1); `union` and
            `single` merge nothing and do not use it.

    Raises:
        DataError: If there is no such policy, or more boxes of one class in one image than can be
            compared with each other.
    """
    _check(policy)
    if policy != "union" and not policy.startswith("single:"):
        _check_crowds(marks)
    match policy.split(":", 1):
        case ["consensus"]:
            return fuse_by_linkage(marks, iou=iou)
        case ["wbf"]:
            return fuse_as_published(marks, iou=iou)
        case ["majority", min_readers]:
            return fuse_by_linkage(marks, iou=iou).with_support(int(min_readers))
        case ["single", reader]:
            return _unmerged(marks, marks.readers == reader)
        case _:
            return _unmerged(marks, np.ones(len(marks), bool))


def reader_of(policy: str) -> str | None:
    """Return the reader of a `single:READER` policy, None for the others.

    Raises:
        DataError: If there is no such policy.
    """
    _check(policy)
    return policy.removeprefix("single:") if policy.startswith("single:") else None


def _check(policy: str) -> None:
    if not re.fullmatch(POLICY, policy):
        raise DataError(
            f"fusion {policy!r} is unknown; expected consensus, wbf, union, majority:K with "
            "K >= 1, or single:READER with the id of a reader."
        )


def _check_crowds(marks: Marks) -> None:
    crowded = crowded_images(marks.images, marks.labels)
    if len(crowded):
        raise DataError(
            f"{len(crowded)} image(s) have more than {MAX_BOXES_PER_CLASS:,} boxes of one class, "
            "too many to be fused. Leave out such images, or their boxes."
        )


def _unmerged(marks: Marks, rows: np.typing.NDArray[np.bool_]) -> Fused:
    selected = marks.select(rows)
    fused = fused_from_clusters(selected, np.arange(len(selected)), selected.boxes)
    box_of_mark = np.full(len(marks), -1, np.int64)
    box_of_mark[rows] = fused.box_of_mark
    return Fused(fused.boxes, fused.labels, fused.support, fused.images, box_of_mark)
