"""What fine-tuning changed in each start, layer by layer, and how soon each was nearly there.

The questions of TransFusion, arXiv 1902.07208, sections on representations and on convergence.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.core.records import read_record
from cxrssl.report.results import Condition, FinishedArm, Results
from cxrssl.report.tables import conditions_shown, role
from cxrssl.report.teachers import teachers_section
from cxrssl.report.wording import METRICS, label_percent
from cxrssl.run.log import read_log

_SHARE = 0.9
"""Of the control's final score."""
_VALIDATED = ("AP", "AP50")
_SIMILARITY = (
    "Linear CKA of the body's maps before the first step and in the detector that was kept, on up "
    "to 32 training images, mean over runs: 1 is unchanged up to a rotation, about 0 unrelated. "
    "The maps are named as timm names them, the finest first."
)


def learning_section(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return the tables of a plan; None where no run measured, validated or taught anything."""
    section = {
        "teachers": teachers_section(plan, results),
        "similarity": _similarity(plan, results),
        "speed": _speed(plan, results),
    }
    return section if any(table is not None for table in section.values()) else None


def _similarity(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return a row for each start and label fraction with `cka`, a column for each map."""
    of_condition = {
        condition: [entry for arm in results.at(condition) for entry in _entries(arm)]
        for condition in conditions_shown(plan, results)
    }
    names = list(dict.fromkeys(name for all_ in of_condition.values() for e in all_ for name in e))
    rows = [
        _head(plan, condition)
        | {"runs": len(entries), "values": [_mean_of(entries, name) for name in names]}
        for condition, entries in of_condition.items()
        if entries
    ]
    return {"text": _SIMILARITY, "maps": names, "rows": rows} if rows else None


def _entries(arm: FinishedArm) -> list[dict[str, float | None]]:
    """Return `cka` of each run of an arm; earlier versions have none."""
    folds = [read_record(run / "metrics.json") for run in arm.fold_folders]
    return [record["cka"] for record in folds or [arm.result] if record.get("cka")]


def _mean_of(entries: Sequence[dict[str, float | None]], name: str) -> float | None:
    values = [value for entry in entries if (value := entry.get(name)) is not None]
    return fmean(values) if values else None


def _speed(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return a row for each start and label fraction that was validated."""
    metric = plan.answer.metric if plan.answer.metric in _VALIDATED else _VALIDATED[0]
    target = plan.answer.target.get(metric)  # type: ignore[call-overload]
    rows = [row for c in conditions_shown(plan, results) for row in _row(plan, results, c, metric)]
    if not rows:
        return None
    goals = [f"{100 * _SHARE:g} % of the control's last"]
    goals += [] if target is None else [f"{METRICS[metric]} {target:g}"]
    text = (
        f"The first step at which {METRICS[metric]} in validation reached a score: the median of "
        "the runs that did, and how many did. Scores in between are not known, so a step is right "
        "to the distance of two validations. The control's last score is that of the run of the "
        "same labels, seed and fold, in validation too; a treatment without a control is compared "
        "with its own."
    )
    return {"text": text, "goals": goals, "rows": rows}


def _row(
    plan: Plan, results: Results, condition: Condition, metric: str
) -> Iterator[dict[str, Any]]:
    """Yield the row of a condition, if its runs and those of its control were validated."""
    name, fraction, faults = condition
    # An entry has its control first, as everywhere in the report.
    controls = plan.treatments[name].controls[:1] or (name,)
    control = Condition(controls[0], fraction, faults)
    pairs = _pairs(results, condition, control)
    curves = [(_curve(run, metric), _curve(of_control, metric)) for run, of_control in pairs]
    curves = [(run, of_control) for run, of_control in curves if run and of_control]
    if not curves:
        return
    target = plan.answer.target.get(metric)  # type: ignore[call-overload]
    goals = [[(run, _SHARE * of_control[-1][1]) for run, of_control in curves]]
    goals += [] if target is None else [[(run, target) for run, _ in curves]]
    yield _head(plan, condition) | {"cells": [_cell(goal) for goal in goals]}


def _pairs(
    results: Results, condition: Condition, control: Condition
) -> Iterator[tuple[Path, Path]]:
    """Yield runs of a condition with those of its control, of the same seed and fold."""
    of_control = {arm.arm.seed: arm.folders for arm in results.at(control)}
    for arm in results.at(condition):
        # A plan that is at work may have one and not yet the other.
        if arm.arm.seed in of_control:
            yield from zip(arm.folders, of_control[arm.arm.seed], strict=True)


def _cell(goal: Sequence[tuple[list[tuple[int, float]], float]]) -> dict[str, Any]:
    """Return the median of the steps at which runs reached their goals, and how many did."""
    reached = [step for curve, score in goal if (step := first_step(curve, score)) is not None]
    return {"step": median(reached) if reached else None, "reached": len(reached), "of": len(goal)}


def first_step(curve: Sequence[tuple[int, float]], score: float) -> int | None:
    """Return the first step of (step, score) at which a score was reached, None if it never was.

    A score of 0 is reached by no run: it would be there before the first step.
    """
    return next((step for step, value in curve if value >= score > 0), None)


def _curve(run: Path, metric: str) -> list[tuple[int, float]]:
    """Return (step, score in validation) of a run's log, oldest first."""
    key = f"val_{metric}"
    return [(line["step"], line[key]) for line in read_log(run) if line.get(key) is not None]


def _head(plan: Plan, condition: Condition) -> dict[str, Any]:
    name, fraction, _ = condition
    return {
        "role": role(plan, name),
        "title": plan.treatments[name].title,
        "labels": label_percent(fraction),
    }
