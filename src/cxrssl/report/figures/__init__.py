"""Figures of the report, as SVG text that stands inside a page; each kind has its own module."""

from cxrssl.drawing.balance import class_balance
from cxrssl.drawing.looks import Role
from cxrssl.drawing.readings import Readings, fusion_examples
from cxrssl.report.figures.classes import class_curves
from cxrssl.report.figures.curves import Line, label_curve, label_curve_png
from cxrssl.report.figures.runs import convergence
from cxrssl.report.figures.saved import labels_saved

__all__ = [
    "Line",
    "Readings",
    "Role",
    "class_balance",
    "class_curves",
    "convergence",
    "fusion_examples",
    "label_curve",
    "label_curve_png",
    "labels_saved",
]
