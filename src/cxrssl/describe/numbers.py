"""The sections of a description: counts, class balance, agreement of readers, drift of the split.

What a section can't compute it says in `notes`, a list that it adds to.
"""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.data.protocol import SPLITS, Protocol
from cxrssl.data.sampling import repeat_factors
from cxrssl.describe.findings import FUSION_IOU, Findings, reader_groups, reader_order
from cxrssl.metrics.agreement import f1_at, mean_overlap, pairs_of
from cxrssl.metrics.drift import fisher_p, holm_adjusted, permutation_p

_REPEAT_THRESHOLD = 0.4
"""Of repeat-factor sampling. Source: the paper, section III.A."""
_MATCH_IOUS = (0.4, 0.5)
_MAX_PAIRS = 3
_MAX_GROUPS = 5
_DRIFT_SEED = 0


def counts(findings: Findings) -> dict[str, Any]:
    """Count images, readers, boxes, splits and fused boxes.

    `support` counts fused boxes by how many readers drew them; `reader_groups` are the most
    frequent sets of readers of an image with findings.
    """
    per_reader = Counter(findings.readings["reader"])
    by_number = Counter(Counter(findings.readings["image_id"]).values())
    readings = findings.readings[findings.readings["image_id"].isin(list(findings.ids))]
    groups = sorted(Counter(reader_groups(readings)).items(), key=lambda item: (-item[1], *item[0]))
    support = np.bincount(findings.fused.support, minlength=4)
    return {
        "images": int(by_number.total()),
        "images_with_findings": len(findings.ids),
        "readers": len(per_reader),
        "images_per_reader": {
            name: per_reader[name] for name in sorted(per_reader, key=reader_order)
        },
        "images_by_number_of_readers": {str(n): by_number[n] for n in sorted(by_number)},
        "reader_groups": [
            {"readers": list(group), "images": number, "share": number / len(findings.ids)}
            for group, number in groups[:_MAX_GROUPS]
        ],
        "boxes": len(findings.marks),
        "split": {split: int((findings.splits == split).sum()) for split in SPLITS},
        "fused_boxes": len(findings.fused.boxes),
        "support": {str(n): int(support[n]) for n in range(1, len(support))},
    }


def balance(findings: Findings, *, protocol: Protocol, notes: list[str]) -> dict[str, Any]:
    """Count images by class in the training split and in an oversampled epoch of it.

    `published` rounds repeat factors up. Elsewhere an epoch is rounded at random, and its expected
    counts are given, as floats.

    Source: the paper, section III.A and figure 3; its code for the rounding.
    """
    train = findings.present[findings.splits == "train"]
    factors = repeat_factors(
        [np.flatnonzero(image_classes) for image_classes in train], threshold=_REPEAT_THRESHOLD
    )
    rounds_up = protocol == "published"
    visits = np.ceil(factors) if rounds_up else factors
    before = train.sum(axis=0).tolist()
    absent = [name for name, number in zip(findings.classes, before, strict=True) if not number]
    if not len(train):
        notes.append("balance: the training split is empty")
    elif absent:
        notes.append(f"balance: no training image holds {', '.join(absent)}")
    after = [_visits(number, as_integer=rounds_up) for number in visits @ train]
    return {
        "train_images_per_class": dict(zip(findings.classes, before, strict=True)),
        "oversampled_images_per_class": dict(zip(findings.classes, after, strict=True)),
        "oversampled_epoch": _visits(visits.sum(), as_integer=rounds_up),
        "oversampled_epoch_expected": _visits(factors.sum(), as_integer=False),
    }


def agreement(findings: Findings, *, notes: list[str]) -> list[dict[str, Any]]:
    """Compare the readers who read most images of the test split together, pair by pair.

    Two entries a pair: overlaps over all pairs of boxes of one class in one image, and over those
    above the fusion's threshold (`thresholded`). F1 knows no such threshold and is the same in
    both. Over the images that both read: a box where the other found nothing counts against F1.
    Every number is symmetric in `a` and `b`.
    """
    is_test = findings.readings["image_id"].isin(
        [name for name, split in zip(findings.ids, findings.splits, strict=True) if split == "test"]
    )
    together = Counter(
        pair
        for group in reader_groups(findings.readings[is_test])
        for pair in combinations(group, 2)
    )
    if not together:
        notes.append("inter_reader: no image of the test split was read by two readers")
    chosen = sorted(together, key=lambda pair: (-together[pair], *map(reader_order, pair)))
    return [
        entry
        for pair in chosen[:_MAX_PAIRS]
        for entry in _compared(findings, *pair, num_images=together[pair])
    ]


def _compared(findings: Findings, a: str, b: str, *, num_images: int) -> list[dict[str, Any]]:
    read_by = {
        name: set(findings.readings.loc[findings.readings["reader"].eq(name), "image_id"])
        for name in (a, b)
    }
    both = np.array([name in read_by[a] and name in read_by[b] for name in findings.ids], bool)
    is_compared = (both & (findings.splits == "test"))[findings.marks.images]
    kinds = findings.marks.class_groups()
    rows_a = is_compared & (findings.marks.readers == a)
    rows_b = is_compared & (findings.marks.readers == b)
    boxes = findings.marks.boxes
    pairs = pairs_of(boxes[rows_a], kinds[rows_a], boxes[rows_b], kinds[rows_b])
    entries = []
    for thresholded in (False, True):
        overlap = mean_overlap(pairs, above=FUSION_IOU if thresholded else None)
        entries.append(
            {
                "a": a,
                "b": b,
                "images": num_images,
                "thresholded": thresholded,
                "iou_mean": overlap.mean,
                "iou_std": overlap.std,
                "n": overlap.num_pairs,
                **{f"f1_at_{iou}": f1_at(pairs, iou) for iou in _MATCH_IOUS},
            }
        )
    return entries


def drift(findings: Findings, *, notes: list[str]) -> dict[str, Any]:
    """Compare training and test images: boxes as drawn an image, and the share with each class.

    `p_value` is of one test alone, `p_holm` adjusted for all tests of the section. A fair draw
    gives a p-value at or below 0.05 once in twenty tests, one at or below 0.05 after Holm in one
    split of twenty at most.
    """
    drawn = np.bincount(findings.marks.images, minlength=len(findings.ids))
    is_train, is_test = findings.splits == "train", findings.splits == "test"
    if not is_train.any() or not is_test.any():
        notes.append(
            f"split_drift: {int(is_train.sum())} training and {int(is_test.sum())} test images; "
            "a comparison needs some of each"
        )
    sizes = int(is_train.sum()), int(is_test.sum())
    tests: dict[str, dict[str, float | None]] = {
        "boxes_per_image": {
            "train": _mean(drawn[is_train]),
            "test": _mean(drawn[is_test]),
            "p_value": permutation_p(drawn[is_train], drawn[is_test], seed=_DRIFT_SEED),
        }
    }
    for name, holds in zip(findings.classes, findings.present.T, strict=True):
        hits = int(holds[is_train].sum()), int(holds[is_test].sum())
        tests[name] = {
            "train": _mean(holds[is_train]),
            "test": _mean(holds[is_test]),
            "p_value": fisher_p(hits=hits, sizes=sizes),
        }
    adjusted = holm_adjusted([test["p_value"] for test in tests.values()])
    for test, p_holm in zip(tests.values(), adjusted, strict=True):
        test["p_holm"] = p_holm
    return {
        "boxes_per_image": tests.pop("boxes_per_image"),
        "per_class": tests,
        "tests": len(adjusted),
    }


def _mean(values: NDArray[np.generic]) -> float | None:
    return float(values.astype(np.float64).mean()) if len(values) else None


def _visits(number: float, *, as_integer: bool) -> int | float:
    return int(number) if as_integer else round(float(number), 1)
