"""What each fault of the paper's published code does to the result: one more of them a row."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import Estimate
from cxrssl.paper.faults import INTRODUCTION, OTHER_FAULTS, TEXTS, TITLES
from cxrssl.report.results import Results, Side
from cxrssl.report.wording import METRICS, interval, is_apart, labels

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
    baseline: Side
    ssl: Side
    control: Side | None


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
    main, control = plan.main, plan.initialisations[plan.main].controls[0]
    p4, p45 = ("P4",), ("P4", "P5")
    yield _Rung(
        f"corrected, {labels(fraction)} of the labels",
        "Split and pool are drawn by a hash of the image; the weights arrive.",
        Side(control, 1.0),
        Side(main, fraction),
        Side(control, fraction),
    )
    plain, faulty = Side(control, fraction, p45), Side(control, 1.0, p4)
    for code, ssl, same in (
        ("P4", Side(main, fraction, p4), None),
        ("P5", Side(main, fraction, p45), plain),
        ("P1", plain, plain),
    ):
        yield _Rung(TITLES[code], TEXTS[code], faulty, ssl, same)


def _rows(plan: Plan, results: Results, fraction: float) -> Iterator[dict[str, Any]]:
    metric, before = plan.answer.metric, None
    for rung in _rungs(plan, fraction):
        gain = results.difference(rung.ssl, rung.baseline, metric)
        effect = None
        if rung.control is not None and rung.control != rung.ssl:
            effect = _gap(results.difference(rung.ssl, rung.control, metric))
        elif rung.control is not None and results.at(rung.ssl):
            effect = "nothing: it is the same run"
        cells = [
            _boxes(results, rung),
            _score(results, rung.baseline, metric),
            _score(results, rung.ssl, metric),
            _gap(gain),
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


def _score(results: Results, side: Side, metric: str) -> str:
    mean = results.mean(side, metric)
    return "-" if mean is None else f"{mean.value:.3f} ({interval(mean.low, mean.high)})"


def _gap(gap: Estimate | None) -> str:
    if gap is None:
        return "-"
    mark = " *" if is_apart(gap) else ""
    return f"{gap.value:+z.3f} ({interval(gap.low, gap.high, signed=True)}){mark}"


def _change(results: Results, before: _Rung | None, rung: _Rung, metric: str) -> str:
    """Return what a fault adds to the gain: paired where the test images are the same."""
    if before is None:
        return ""
    if before.baseline == rung.baseline:
        return _gap(results.difference(rung.ssl, before.ssl, metric))
    gains = [results.difference(one.ssl, one.baseline, metric) for one in (before, rung)]
    return _gap(_unpaired(gains[1], gains[0]))


def _unpaired(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """Return first - second of two test sets, as if they were independent."""
    if first is None or second is None:
        return None
    delta = first.value - second.value
    halves = [
        (one.high - one.low) / 2
        for one in (first, second)
        if one.high is not None and one.low is not None
    ]
    if len(halves) < 2:
        return Estimate(delta, None, None, None)
    half = math.hypot(*halves)
    return Estimate(delta, delta - half, delta + half, None)
