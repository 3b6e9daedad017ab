"""Texts of label fractions, scores and intervals in the report."""

import math

from cxrssl.config.arms import percent
from cxrssl.metrics.label_curves import LabelsNeeded

METRICS = {
    "AP": "mAP",
    "AP50": "mAP50",
    "AP_small": "mAP small",
    "AR100_agnostic": "AR",
    "AR_small1000_agnostic": "AR small",
    "AP40": "AP at IoU 0.4",
    "froc_mean": "FROC (mean sensitivity)",
}
"""The paper's words for scores, where it has some."""
BEYOND = "more than the data can tell"


def label_percent(fraction: float) -> str:
    """Return a fraction of the labels as a percentage."""
    return f"{percent(fraction)} %"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return both ends of an interval, or that there is none."""
    if low is None or high is None:
        return "no interval"
    form = "+z.3f" if signed else ".3f"
    return f"{low:{form}} to {high:{form}}"


def needed(fraction: float, curve: LabelsNeeded) -> str:
    """Return the label fraction that the control needs, or on which side it is out of range."""
    if math.isnan(fraction):
        return "not known"
    if math.isinf(fraction):
        return BEYOND
    if fraction <= 0:
        return f"less than {label_percent(curve.least)}"
    return f"{100 * fraction:.0f} %"


def needed_interval(curve: LabelsNeeded) -> str:
    """Return the interval of the fraction that the control needs; one end if both are out of it."""
    low, high = needed(curve.low, curve), needed(curve.high, curve)
    return low if low == high and not 0 < curve.low < math.inf else f"{low} to {high}"
