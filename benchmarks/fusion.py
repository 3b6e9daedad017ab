"""Whole-table fusion against the loop people write: ensemble-boxes, image by image.

The table is VinDr-CXR's, read in place from the package torchxrayvision. The peer groups its rows
by image and calls `weighted_boxes_fusion` for each, every class a model of its own, as the paper's
code does; ours takes the whole table. Both must give the same boxes, to the last bit. The loop
is timed as written, filtering rows with pandas (once, it takes a minute), and with all that taken
out, so that only ensemble-boxes itself is left.

    python benchmarks/fusion.py [--rounds 3]
"""

import argparse
import importlib.util
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from ensemble_boxes import weighted_boxes_fusion

from cxrssl.core.labels import FINDINGS, NO_FINDING
from cxrssl.data.fusion import Marks, fuse
from cxrssl.data.tables import read_table
from cxrssl.data.tables.rows import BOX_COLUMNS

IOU = 0.2
SCALE = 4096.0  # ensemble-boxes wants 0..1; a power of two changes no digit


def published(drawn: pd.DataFrame) -> np.ndarray:
    """Return [M, 6] (x_min, y_min, x_max, y_max, class, image) as the loop gives them."""
    found = []
    for number, (_, rows) in enumerate(drawn.groupby("image_id", sort=False)):
        by_class = [rows.loc[rows["category"] == name, BOX_COLUMNS] for name in FINDINGS]
        found.append(fused([part.to_numpy() / SCALE for part in by_class], number))
    return np.concatenate(found)


def without_pandas(marks: Marks) -> np.ndarray:
    """Return the same; rows are cut into images and classes with numpy, and only present ones."""
    ends = np.flatnonzero(np.diff(marks.images)) + 1
    found = []
    for number, rows in enumerate(np.split(np.arange(len(marks)), ends)):
        boxes, labels = marks.boxes[rows] / SCALE, marks.labels[rows]
        found.append(fused([boxes[labels == kind] for kind in range(len(FINDINGS))], number))
    return np.concatenate(found)


def fused(by_class: list[np.ndarray], image: int) -> np.ndarray:
    """Call ensemble-boxes for one image."""
    boxes, _, labels = weighted_boxes_fusion(
        by_class,
        [np.ones(len(part)) for part in by_class],
        [np.full(len(part), kind) for kind, part in enumerate(by_class)],
        weights=[1] * len(by_class),
        iou_thr=IOU,
    )
    return np.column_stack([boxes * SCALE, labels, np.full(len(boxes), image)])


def ours(marks: Marks, policy: str) -> np.ndarray:
    """Return the same from the whole table."""
    fused = fuse(marks, policy=policy, iou=IOU)
    return np.column_stack([fused.boxes, fused.labels, fused.images])


def in_order(boxes: np.ndarray) -> np.ndarray:
    """Return rows sorted by all columns."""
    return boxes[np.lexsort(boxes.T[::-1])]


def main() -> None:
    """Time both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        raise SystemExit("the table comes from the package torchxrayvision: pip install it first")
    rows = read_table(Path(package.origin).parent / "data/vinbigdata-train.csv.gz").rows
    drawn = rows[rows["category"].ne(NO_FINDING)].reset_index(drop=True)
    if options.smallest:
        few = drawn["image_id"].unique()[:20]
        drawn = drawn[drawn["image_id"].isin(few)].reset_index(drop=True)
    marks = Marks(
        drawn[BOX_COLUMNS].to_numpy(),
        drawn["category"].map({name: i for i, name in enumerate(FINDINGS)}).to_numpy(np.int64),
        drawn["reader"].to_numpy(np.str_),
        pd.factorize(drawn["image_id"])[0].astype(np.int64),
    )
    order = np.argsort(marks.images, kind="stable")
    by_image = Marks(
        marks.boxes[order], marks.labels[order], marks.readers[order], marks.images[order]
    )
    start = time.perf_counter()
    theirs = published(drawn)
    slow = time.perf_counter() - start
    times: dict[str, list[float]] = {"loop": [], "wbf": [], "consensus": []}
    for _ in range(1 if options.smallest else options.rounds):
        start = time.perf_counter()
        without_pandas(by_image)
        times["loop"].append(time.perf_counter() - start)
        for policy in ("wbf", "consensus"):
            start = time.perf_counter()
            boxes = ours(marks, policy)
            times[policy].append(time.perf_counter() - start)
            if policy == "wbf" and not np.array_equal(in_order(boxes), in_order(theirs)):
                raise SystemExit("the boxes differ from ensemble-boxes'")
    print(
        f"{len(drawn)} boxes of {marks.images.max() + 1} images -> {len(theirs)}; equal bit by bit"
    )
    print(f"published loop over ensemble-boxes  {slow:8.2f} s")
    print(f"the same loop without pandas        {median(times['loop']):8.2f} s")
    for policy in ("wbf", "consensus"):
        own = median(times[policy])
        ratio = median(p / o for p, o in zip(times["loop"], times[policy], strict=True))
        print(
            f"{policy:34s}  {own:8.3f} s   {slow / own:5.0f}x and {ratio:5.0f}x (wbf's bar: 100x)"
        )


if __name__ == "__main__":
    main()
