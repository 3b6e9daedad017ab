"""A table's findings as arrays, divided and fused by a protocol.

Shapes: I images with findings in the order of the table, K classes, N marks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.core.labels import NO_FINDING
from cxrssl.data.fusion import MAX_BOXES_PER_CLASS, Fused, Marks, fuse, reader_array
from cxrssl.data.protocol import Protocol, split_images
from cxrssl.data.tables import Table

FUSION_IOU = 0.2
"""Overlap that makes two boxes one finding. Source: the paper, section II.A."""


@dataclass(frozen=True)
class Findings:
    """What readers found, without the images whose rows can't be used.

    Attributes:
        classes: K names.
        readings: A row for each image and reader who read it, columns `image_id` and `reader`;
            those who found nothing are among them.
        ids: I images with findings.
        splits: [I] which split each is in, "" for none.
        marks: N boxes; a mark's image is its place in `ids`, its label its place in `classes`.
        present: [I, K] whether an image holds a class.
        fused: The consensus of the marks.
        policy: How it was made.
    """

    classes: tuple[str, ...]
    readings: pd.DataFrame
    ids: tuple[str, ...]
    splits: NDArray[np.str_]
    marks: Marks
    present: NDArray[np.bool_]
    fused: Fused
    policy: str


def findings_of(table: Table, *, protocol: Protocol) -> Findings:
    """Bring a table into arrays; images with faults are left out.

    `published` and `described` fuse as the paper's code does, `corrected` independently of order.
    """
    left_out = [*table.faults, *crowds(table)]
    rows = table.rows[~table.rows["image_id"].isin(left_out)]
    drawn = rows[rows["category"].ne(NO_FINDING)]
    ids = tuple(dict.fromkeys(drawn["image_id"]))
    split_of = split_images(ids, protocol=protocol, parts=table.parts)
    marks = Marks(
        drawn[["x_min", "y_min", "x_max", "y_max"]].to_numpy(np.float64),
        _indices(drawn["category"], table.classes),
        reader_array(drawn["reader"].tolist()),
        _indices(drawn["image_id"], ids),
    )
    present = np.zeros((len(ids), len(table.classes)), bool)
    present[marks.images, marks.labels] = True
    policy = "consensus" if protocol == "corrected" else "wbf"
    return Findings(
        classes=table.classes,
        readings=rows[["image_id", "reader"]].drop_duplicates(),
        ids=ids,
        splits=np.array([split_of.get(name, "") for name in ids], dtype=str),
        marks=marks,
        present=present,
        fused=fuse(marks, policy=policy, iou=FUSION_IOU),
        policy=policy,
    )


def crowds(table: Table) -> dict[str, str]:
    """Return the fault of every image with more boxes of one class than can be fused, by its id."""
    drawn = table.rows[table.rows["category"].ne(NO_FINDING)]
    counts = Counter(zip(drawn["image_id"], drawn["category"], strict=True))
    return {
        image_id: f"{count:,} boxes of {category}; at most {MAX_BOXES_PER_CLASS:,} of one class "
        "are fused"
        for (image_id, category), count in sorted(counts.items())
        if count > MAX_BOXES_PER_CLASS
    }


def reader_order(reader: str) -> tuple[int, str]:
    """Return a key that puts R8 before R10."""
    return len(reader), reader


def reader_groups(readings: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the readers of each image of `readings`."""
    pairs = zip(readings["image_id"], readings["reader"], strict=True)
    of_image: dict[str, list[str]] = {}
    for image_id, reader in pairs:
        of_image.setdefault(image_id, []).append(reader)
    return [tuple(sorted(readers, key=reader_order)) for readers in of_image.values()]


def _indices(names: "pd.Series[str]", among: Sequence[str]) -> NDArray[np.int64]:
    index = {name: place for place, name in enumerate(among)}
    return np.array([index[name] for name in names], dtype=np.int64)
