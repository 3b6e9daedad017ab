"""What each fault of the paper's published code does to the result: one more of them a row."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.paper.faults import INTRODUCTION, OTHER_FAULTS, TEXTS, TITLES
from cxrssl.report.differences import Difference
from cxrssl.report.results import Condition, Results
from cxrssl.report.wording import METRICS, interval, label_percent

_COLUMNS = (
    "boxes an image, train and test",
    "all labels",
    "SSL",
    "SSL - all labels: the gain as it is reported",
    "what this fault does to the gain",
    "SSL - the same labels without: what pretraining did",
)


@dataclass(frozen=True)
class _Rung:
    """One row: which arms stand for the baseline, for SSL, and for SSL without pretraining."""

    title: str
    text: str
    baseline: Condition
    ssl: Condition
    control: Condition | None


def fault_section(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return the ladder of faults, None for a plan that asks for none."""
    if not plan.faults or plan.main is None:
        return None
    rows = [row for fraction in plan.faults for row in _rows(plan, results, fraction)]
    return {
        "intro": f"{INTRODUCTION} Score: {METRICS[plan.answer.metric]}.",
        "columns": list(_COLUMNS),
        "rows": rows,
        "others": [{"code": code, "text": text} for code, text in OTHER_FAULTS],
    }


def _rungs(plan: Plan, fraction: float) -> Iterator[_Rung]:
    assert plan.main is not None  # the caller has looked
    main, control = plan.main, plan.treatments[plan.main].controls[0]
    p4, p45 = ("P4",), ("P4", "P5")
    yield _Rung(
        f"corrected, {label_percent(fraction)} of the labels",
        "Split and pool are drawn by a hash of the image; the weights arrive.",
        Condition(control, 1.0),
        Condition(main, fraction),
        Condition(control, fraction),
    )
    plain, faulty = Condition(control, fraction, p45), Condition(control, 1.0, p4)
    for code, ssl, control_same_labels in (
        ("P4", Condition(main, fraction, p4), None),
        ("P5", Condition(main, fraction, p45), plain),
        ("P1", plain, plain),
    ):
        yield _Rung(TITLES[code], TEXTS[code], faulty, ssl, control_same_labels)


def _rows(plan: Plan, results: Results, fraction: float) -> Iterator[dict[str, Any]]:
    metric, before = plan.answer.metric, None
    for rung in _rungs(plan, fraction):
        gain = results.difference(rung.ssl, rung.baseline, metric)
        effect = None
        if rung.control is not None and rung.control != rung.ssl:
            effect = _difference(results.difference(rung.ssl, rung.control, metric))
        elif rung.control is not None and results.at(rung.ssl):
            effect = "nothing: it is the same run"
        cells = [
            _boxes(results, rung),
            _score(results, rung.baseline, metric),
            _score(results, rung.ssl, metric),
            _difference(gain),
            _change(results, before, rung, metric),
            effect or ("not run" if rung.control is None else "-"),
        ]
        yield {"title": rung.title, "text": rung.text, "cells": cells}
        before = rung


def _boxes(results: Results, rung: _Rung) -> str:
    arms = results.at(rung.ssl)
    if not arms:
        return "-"
    result = arms[0].result
    train = result["train_boxes"] / result["train_images"]
    return f"{train:.1f} and {result['n_boxes'] / result['n_images']:.1f}"


def _score(results: Results, condition: Condition, metric: str) -> str:
    mean = results.mean(condition, metric)
    return "-" if mean is None else f"{mean.value:.3f} ({interval(mean.low, mean.high)})"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    star = " *" if difference.excludes_zero else ""
    return f"{difference.value:+z.3f} ({difference.interval}){star}"


def _change(results: Results, before: _Rung | None, rung: _Rung, metric: str) -> str:
    """Return what a fault adds to the gain: paired where the test images are the same."""
    if before is None:
        return ""
    if before.baseline == rung.baseline:
        return _difference(results.difference(rung.ssl, before.ssl, metric))
    gain, gain_before = (
        results.difference(step.ssl, step.baseline, metric) for step in (rung, before)
    )
    return _difference(_unpaired(gain, gain_before))


def _unpaired(first: Difference | None, second: Difference | None) -> Difference | None:
    """Return first - second of two test sets, as if they were independent."""
    if first is None or second is None:
        return None
    delta = first.value - second.value
    halves = [
        (estimate.high - estimate.low) / 2
        for estimate in (first, second)
        if estimate.high is not None and estimate.low is not None
    ]
    if len(halves) < 2:
        agree = first.draws_agree or second.draws_agree
        return Difference(delta, None, None, None, draws_agree=agree)
    half = math.hypot(*halves)
    return Difference(delta, delta - half, delta + half, None)
