"""Tables I and II of the paper for a plan, with intervals, and scores by class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cxrssl.config.arms import percent
from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import Estimate
from cxrssl.paper import numbers as paper
from cxrssl.report.figures import Role
from cxrssl.report.results import FinishedArm, Results, Side, class_estimate
from cxrssl.report.wording import METRICS, labels

_COLUMNS = paper.COLUMNS
_IOU = (("best_iou_mean", "best_iou_std"), ("best_iou_above_0.2_mean", "best_iou_above_0.2_std"))
_READER_IOU = (("iou_mean", "iou_std"), ("iou_above_0.2_mean", "iou_above_0.2_std"))
_MOST_READER_PAIRS = 6


def points(plan: Plan, results: Results) -> list[Side]:
    """Return the sides without faults that have an arm, most labels first."""
    sides = [
        Side(name, fraction)
        for fraction in sorted(plan.label_fractions, reverse=True)
        for name in plan.initialisations
    ]
    return [side for side in sides if results.at(side)]


def role(plan: Plan, name: str) -> Role:
    """Return what an initialisation is to the question: `ssl`, its `control`, or `other`."""
    if plan.main is None:
        return "other"
    if name == plan.main:
        return "ssl"
    return "control" if name == plan.initialisations[plan.main].controls[0] else "other"


def table_1(plan: Plan, results: Results) -> dict[str, Any]:
    """Return the paper's table I: every initialisation at every share, with paired differences."""
    definitions = results.plain[0].result["definitions"] if results.plain else {}
    columns = [
        {
            "label": METRICS[name],
            "note": definitions.get(name, ""),
            "paper_label": f"{METRICS[name]} in the paper"
            + (" (small at 512 px)" if name in paper.AT_512_PX else ""),
        }
        for name in _COLUMNS
    ]
    rows = [_row(plan, results, side) for side in points(plan, results)]
    return {
        "columns": columns,
        "rows": rows,
        "against": _against(plan),
        "has_paper": plan.paper,
    }


def _against(plan: Plan) -> str:
    names = {one.controls[0] for one in plan.initialisations.values() if one.controls}
    titles = [one.title for name, one in plan.initialisations.items() if name in names]
    return " or ".join(titles)


def _row(plan: Plan, results: Results, side: Side) -> dict[str, Any]:
    name, fraction, _ = side
    arms = results.at(side)
    controls = plan.initialisations[name].controls
    numbers = _paper_row(plan, name, fraction)
    cells = []
    for column, printed in zip(_COLUMNS, numbers, strict=True):
        gap = None
        if controls:
            gap = results.difference(side, Side(controls[0], fraction), column)
        cells.append(_cell(results.mean(side, column), gap) | {"paper": printed})
    return {
        "role": role(plan, name),
        "title": plan.initialisations[name].title,
        "labels": labels(fraction),
        "images": arms[0].result["train_images"],
        "seeds": len(arms),
        "cells": cells,
    }


def _paper_row(plan: Plan, name: str, fraction: float) -> Sequence[float | None]:
    """Return what the paper has: its baseline stands at the arm that sees all labels."""
    nothing = (None,) * len(_COLUMNS)
    if not plan.paper:
        return nothing
    is_baseline = fraction == 1 and role(plan, name) in ("control", "other")
    if is_baseline or (fraction < 1 and (plan.main is None or role(plan, name) == "ssl")):
        return paper.TABLE_1.get(percent(fraction), nothing)
    return nothing


def _cell(mean: Estimate | None, gap: Estimate | None) -> dict[str, Any]:
    own: dict[str, float | None] = {"value": None, "low": None, "high": None}
    if mean is not None:
        own = {"value": mean.value, "low": mean.low, "high": mean.high}
    names = ("delta", "delta_low", "delta_high", "p")
    found = (None,) * 4 if gap is None else (gap.value, gap.low, gap.high, gap.p)
    return own | dict(zip(names, found, strict=True))


def table_2(plan: Plan, results: Results) -> dict[str, Any]:
    """Return the paper's table II in both readings: readers, then detectors."""
    rows = list(_reader_rows(plan, results))
    for side in points(plan, results):
        name, fraction, _ = side
        printed = paper.TABLE_2.get(percent(fraction), (None, None)) if plan.paper else (None, None)
        has_paper = plan.paper and _paper_row(plan, name, fraction)[0] is not None
        cells = [_overlap(results.at(side), names) for names in _IOU]
        cells[0]["paper"] = printed[0] if has_paper else None
        title = f"{plan.initialisations[name].title}, {labels(fraction)}"
        rows.append({"role": role(plan, name), "title": title, "cells": cells})
    return {
        "labels": ["all true boxes, or pairs", "those that overlap by more than 0.2"],
        "rows": rows,
    }


def _overlap(arms: Sequence[FinishedArm], names: tuple[str, str]) -> dict[str, Any]:
    """Return the mean over seeds of an overlap's mean and deviation."""
    found = [[arm.result["metrics"][name]["value"] for arm in arms] for name in names]
    mean, std = (None if None in values else float(np.mean(values)) for values in found)
    return {"mean": mean, "std": std, "paper": None}


def _reader_rows(plan: Plan, results: Results) -> Iterator[dict[str, Any]]:
    readers = results.plain[0].result["readers"] if results.plain else None
    if readers is None:
        return
    pairs = sorted(readers["pairs"], key=lambda pair: -pair["images"])[:_MOST_READER_PAIRS]
    for pair in pairs:
        cells = _reader_cells(pair)
        key = (pair["a"], pair["b"])
        if plan.paper:
            for cell, printed in zip(cells, (paper.READERS_ALL, paper.READERS_ABOVE), strict=True):
                cell["paper"] = printed[key][0] if key in printed else None
        title = f"{pair['a']} and {pair['b']} ({pair['images']} images)"
        yield {"role": "baseline", "title": title, "cells": cells}
    title = f"all pairs of readers ({readers['images']} images)"
    yield {"role": "baseline", "title": title, "cells": _reader_cells(readers["between_readers"])}


def _reader_cells(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"mean": entry[mean]["value"], "std": entry[std]["value"], "paper": None}
        for mean, std in _READER_IOU
    ]


def class_table(plan: Plan, results: Results, metric: str) -> dict[str, Any]:
    """Return a score by class and point, classes with the most test boxes first."""
    shown = points(plan, results)
    if not shown:
        return {"arms": [], "rows": []}
    counts = results.plain[0].result["classes"]
    names = sorted(counts, key=lambda name: -counts[name]["n_boxes"])
    return {
        "arms": [
            {
                "title": f"{plan.initialisations[name].title}, {labels(fraction)}",
                "role": role(plan, name),
            }
            for name, fraction, _ in shown
        ],
        "rows": [
            {
                "name": name,
                "boxes": counts[name]["n_boxes"],
                "cells": [
                    _cell(class_estimate(results.at(point), name, metric), None) for point in shown
                ],
            }
            for name in names
        ],
    }
