"""How the phantom's `statistics.json` was computed from the VinDr-CXR training table.

It holds fractions, means, covariances and coarse quantiles only: the table's rows are under a
data-use agreement and are not shipped. `summarise` computes the numbers again from a copy of the
table.

Shapes: N boxes of one image and class; four geometry values (cx, cy, log w, log h).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.core.boxes import iou_matrix
from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom.statistics import MIDLINE_CLASSES, QUANTILE_LEVELS, TRIO, FloatArray

MEAN_WIDTH_PX, MEAN_HEIGHT_PX = 2446, 2787
"""Mean size of a VinDr-CXR image; the table that is open to all has no sizes."""
CONSENSUS_IOU = 0.2
MAX_LESIONS = 12


def group_boxes(boxes: FloatArray, *, iou: float = CONSENSUS_IOU) -> list[list[int]]:
    """Group the boxes of one image and class that mark the same finding.

    Each box joins the group whose mean box it overlaps most, if by more than `iou`; else it opens
    one.

    Args:
        boxes: [N, 4] xyxy in any one unit, in table order.
        iou: Overlap above which two boxes are the same finding.

    Returns:
        Index lists that together hold 0..N-1 once.

    Source: weighted boxes fusion, arXiv 1910.13302, section 3, with equal weights. This is the
    plain form that the summary numbers need, not the consensus that models are trained on.
    """
    groups: list[list[int]] = []
    means: list[FloatArray] = []
    for i, box in enumerate(boxes):
        overlaps = iou_matrix(box[None], np.stack(means))[0] if means else np.zeros(1)
        best = int(np.argmax(overlaps))
        if overlaps[best] > iou:
            groups[best].append(i)
            means[best] = boxes[groups[best]].mean(axis=0)
        else:
            groups.append([i])
            means.append(box)
    return groups


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Compute the content of `statistics.json` from the VinDr-CXR training table.

    Args:
        table: Kaggle VinBigData columns, boxes xyxy in original pixels, a row a box.

    Returns:
        Plain numbers, rounded to four places, ready for JSON.
    """
    boxed = table[table["class_name"] != "No finding"]
    num_images = int(boxed["image_id"].nunique())
    fused = {name: _Fused.of(boxed[boxed["class_name"] == name]) for name in FINDINGS}
    readers = [r for boxes in fused.values() for r in boxes.readers]
    supports = np.array([len(r) for r in readers])
    solo = Counter(next(iter(r)) for r in readers if len(r) == 1 and r <= set(TRIO))
    absent = Counter(next(iter(set(TRIO) - r)) for r in readers if len(r) == 2 and r <= set(TRIO))
    return {
        "about": "Summary numbers of the VinDr-CXR training table; no rows. See summarise().",
        "num_images_with_findings": num_images,
        "fused_boxes_an_image": round(len(readers) / num_images, 4),
        "boxes_an_image": round(len(boxed) / num_images, 4),
        "support": _fractions(supports, 3),
        "solo_share": _normalised([solo[r] for r in TRIO]),
        "absent_share": _normalised([absent[r] for r in TRIO]),
        **_reader_summary(table, set(boxed["image_id"])),
        "classes": {name: boxes.summary(name, num_images) for name, boxes in fused.items()},
    }


@dataclass(frozen=True)
class _Fused:
    """The consensus boxes of one class over all images, relative to the image."""

    boxes: FloatArray
    readers: list[set[str]]
    lesions: list[int]
    offsets: FloatArray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "_Fused":
        boxes, readers, lesions, offsets = [], [], [], []
        scale = np.array([MEAN_WIDTH_PX, MEAN_HEIGHT_PX] * 2, dtype=np.float64)
        all_drawn = rows[["x_min", "y_min", "x_max", "y_max"]].to_numpy(np.float64) / scale
        all_readers = rows["rad_id"].to_numpy()
        for _, members in sorted(rows.groupby("image_id").indices.items()):
            drawn, box_readers = all_drawn[members], all_readers[members]
            groups = group_boxes(drawn)
            lesions.append(len(groups))
            for group in groups:
                mean = drawn[group].mean(axis=0)
                boxes.append(mean)
                readers.append({box_readers[i] for i in group})
                if len(group) > 1:
                    size = np.tile(mean[2:] - mean[:2], 2)
                    # n - 1: the mean box was made from the same n boxes.
                    unbias = np.sqrt(len(group) / (len(group) - 1))
                    offsets.append((drawn[group] - mean) / size * unbias)
        return cls(np.stack(boxes), readers, lesions, np.concatenate(offsets))

    def summary(self, name: str, num_images: int) -> dict[str, Any]:
        centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        values = np.concatenate([centres, np.log(self.boxes[:, 2:] - self.boxes[:, :2])], axis=1)
        left = values[:, 0] < 0.5
        sides = {"any": left | True} if name in MIDLINE_CLASSES else {"left": left, "right": ~left}
        return {
            "image_share": round(len(self.lesions) / num_images, 4),
            "lesions": _fractions(np.array(self.lesions), MAX_LESIONS),
            "support": _fractions(np.array([len(r) for r in self.readers]), 3),
            "jitter": _rounded(self.offsets.std(axis=0)),
            "sides": {side: _place_summary(values, rows) for side, rows in sides.items()},
        }


def _place_summary(values: FloatArray, rows: NDArray[np.bool_]) -> dict[str, Any]:
    chosen = values[rows]
    return {
        "share": round(float(rows.mean()), 4),
        "mean": _rounded(chosen.mean(axis=0)),
        "covariance": _rounded(np.cov(chosen, rowvar=False), 5),
        "quantiles": _rounded(np.quantile(chosen, QUANTILE_LEVELS, axis=0).T),
    }


def _reader_summary(table: pd.DataFrame, with_findings: set[str]) -> dict[str, Any]:
    trio_share, other_readers = {}, {}
    readers = table.groupby("image_id")["rad_id"].agg(set).to_dict()
    for kind in ("findings", "normal"):
        chosen = [r for i, r in readers.items() if (i in with_findings) == (kind == "findings")]
        others = Counter(name for r in chosen if r != set(TRIO) for name in sorted(r))
        total = sum(others.values())
        trio_share[kind] = round(sum(r == set(TRIO) for r in chosen) / len(chosen), 4)
        other_readers[kind] = {name: round(n / total, 4) for name, n in sorted(others.items())}
    return {"trio_share": trio_share, "other_readers": other_readers}


def _fractions(counts: NDArray[np.int64], highest: int) -> list[float]:
    clipped = np.bincount(np.clip(counts, 1, highest), minlength=highest + 1)[1:]
    return _rounded(clipped / clipped.sum())


def _normalised(counts: list[int]) -> list[float]:
    return _rounded(np.array(counts) / sum(counts))


def _rounded(values: FloatArray, decimals: int = 4) -> list[float]:
    rounded: list[float] = np.round(values, decimals).tolist()
    return rounded
