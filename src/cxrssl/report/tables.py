"""Tables I and II of the paper for a plan, with intervals, and scores by class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from cxrssl.config.arms import percent
from cxrssl.config.load import flattened
from cxrssl.config.plan import Plan
from cxrssl.drawing.looks import Role
from cxrssl.metrics.label_curves import Estimate
from cxrssl.paper import numbers as paper
from cxrssl.report.amounts import amount_of, counted, minutes_text
from cxrssl.report.differences import Difference
from cxrssl.report.results import Condition, FinishedArm, Results, class_estimate
from cxrssl.report.wording import METRICS, label_percent

_IOU = (("best_iou_mean", "best_iou_std"), ("best_iou_above_0.2_mean", "best_iou_above_0.2_std"))
_READER_IOU = (("iou_mean", "iou_std"), ("iou_above_0.2_mean", "iou_above_0.2_std"))
_MOST_READER_PAIRS = 6


def conditions_shown(plan: Plan, results: Results) -> list[Condition]:
    """Return the sides without faults that have an arm, most labels first."""
    conditions = [
        Condition(name, fraction)
        for fraction in sorted(plan.label_fractions, reverse=True)
        for name in plan.treatments
    ]
    return [condition for condition in conditions if results.at(condition)]


def role(plan: Plan, name: str) -> Role:
    """Return what a treatment is to the question: `ssl`, its `control`, or `other`."""
    if plan.main is None:
        return "other"
    if name == plan.main:
        return "ssl"
    return "control" if name == plan.treatments[plan.main].controls[0] else "other"


def table_1(plan: Plan, results: Results) -> dict[str, Any]:
    """Return the paper's table I: treatments at all label fractions, paired differences."""
    definitions = results.plain[0].result["definitions"] if results.plain else {}
    names = _columns(plan)
    columns = [
        {
            "label": METRICS[name],
            "note": definitions.get(name, ""),
            "paper_label": f"{METRICS[name]} in the paper"
            + (" (small at 512 px)" if name in paper.AT_512_PX else ""),
        }
        for name in names
    ]
    rows = [_row(plan, results, condition) for condition in conditions_shown(plan, results)]
    return {
        "columns": columns,
        "rows": rows,
        "against": _control_titles(plan),
        "has_paper": plan.paper,
    }


def _columns(plan: Plan) -> tuple[str, ...]:
    """Return the paper's columns, and the answer's metric first where it is none of them."""
    metric = plan.answer.metric
    return paper.COLUMNS if metric in paper.COLUMNS else (metric, *paper.COLUMNS)


def _control_titles(plan: Plan) -> str:
    """Return what differences of table I are from."""
    treatments = plan.treatments.items()
    controls = {control for _, entry in treatments for control in entry.controls[:1]}
    titles = " or ".join(entry.title for name, entry in treatments if name in controls)
    return titles if len(controls) < 2 else f"each treatment's control ({titles})"


def _row(plan: Plan, results: Results, condition: Condition) -> dict[str, Any]:
    name, fraction, _ = condition
    arms = results.at(condition)
    controls = plan.treatments[name].controls
    paper_values = dict(zip(paper.COLUMNS, _paper_row(plan, name, fraction), strict=True))
    cells = []
    for column in _columns(plan):
        paper_value = paper_values.get(column)
        difference = None
        if controls:
            difference = results.difference(condition, Condition(controls[0], fraction), column)
        cells.append(_cell(results.mean(condition, column), difference) | {"paper": paper_value})
    return {
        "role": role(plan, name),
        "title": plan.treatments[name].title,
        "labels": label_percent(fraction),
        "images": arms[0].result["train_images"],
        "amount": _amount_text(plan, arms),
        "seeds": len(arms),
        "cells": cells,
    }


def _amount_text(plan: Plan, arms: Sequence[FinishedArm]) -> str:
    """Return films, boxes, those that readers drew where they are more, and minutes if known."""
    amount = amount_of(arms)
    if amount is None:
        return ""
    boxes = counted(amount.boxes, "box")
    if amount.reader_boxes is not None and round(amount.reader_boxes) != round(amount.boxes):
        boxes += f" of {amount.reader_boxes:,.0f} by readers"
    parts = [
        counted(amount.films, "film"),
        boxes,
        minutes_text(amount.minutes(plan.answer.reading)),
    ]
    return ", ".join(part for part in parts if part)


def _paper_row(plan: Plan, name: str, fraction: float) -> Sequence[float | None]:
    """Return what the paper has: its baseline stands at the arm that sees all labels."""
    nothing = (None,) * len(paper.COLUMNS)
    if not plan.paper:
        return nothing
    is_baseline = fraction == 1 and name in _baselines(plan)
    if is_baseline or (fraction < 1 and (plan.main is None or role(plan, name) == "ssl")):
        return paper.TABLE_1.get(percent(fraction), nothing)
    return nothing


def _baselines(plan: Plan) -> list[str]:
    """Return the treatments that are the paper's baseline: from COCO, if a treatment says so."""
    if plan.main is None:
        return list(plan.treatments)
    set_to_coco = [
        name
        for name, section in plan.treatments.items()
        if section.pretraining is None and dict(flattened(section.set)).get("init.start") == "coco"
    ]
    return set_to_coco or [plan.treatments[plan.main].controls[0]]


def _cell(mean: Estimate | None, difference: Difference | None) -> dict[str, Any]:
    cell: dict[str, float | None] = {"value": None, "low": None, "high": None}
    if mean is not None:
        cell = {"value": mean.value, "low": mean.low, "high": mean.high}
    names = ("delta", "delta_low", "delta_high", "p", "draws_agree")
    values = (None,) * 4 + (False,) if difference is None else astuple(difference)
    return cell | dict(zip(names, values, strict=True))


def table_2(plan: Plan, results: Results) -> dict[str, Any]:
    """Return the paper's table II in both readings: readers, then detectors."""
    rows = list(_reader_rows(plan, results))
    for condition in conditions_shown(plan, results):
        name, fraction, _ = condition
        paper_values = (
            paper.TABLE_2.get(percent(fraction), (None, None)) if plan.paper else (None, None)
        )
        has_paper = plan.paper and _paper_row(plan, name, fraction)[0] is not None
        cells = [_overlap(results.at(condition), names) for names in _IOU]
        cells[0]["paper"] = paper_values[0] if has_paper else None
        title = f"{plan.treatments[name].title}, {label_percent(fraction)}"
        rows.append({"role": role(plan, name), "title": title, "cells": cells})
    return {
        "labels": ["all true boxes, or pairs", "those that overlap by more than 0.2"],
        "rows": rows,
    }


def _overlap(arms: Sequence[FinishedArm], names: tuple[str, str]) -> dict[str, Any]:
    """Return the mean over seeds of an overlap's mean and deviation."""
    by_metric = [[arm.result["metrics"][name]["value"] for arm in arms] for name in names]
    mean, std = (None if None in values else float(np.mean(values)) for values in by_metric)
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
            for cell, paper_values in zip(
                cells, (paper.READERS_ALL, paper.READERS_ABOVE), strict=True
            ):
                cell["paper"] = paper_values[key][0] if key in paper_values else None
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
    conditions = conditions_shown(plan, results)
    if not conditions:
        return {"arms": [], "rows": []}
    counts = results.plain[0].result["classes"]
    names = sorted(counts, key=lambda name: -counts[name]["n_boxes"])
    return {
        "arms": [
            {
                "title": f"{plan.treatments[name].title}, {label_percent(fraction)}",
                "role": role(plan, name),
            }
            for name, fraction, _ in conditions
        ],
        "rows": [
            {
                "name": name,
                "boxes": counts[name]["n_boxes"],
                "cells": [
                    _cell(class_estimate(results.at(condition), name, metric), None)
                    for condition in conditions
                ],
            }
            for name in names
        ],
    }
