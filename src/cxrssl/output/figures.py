"""Figures of the report, as SVG text that stands inside a page; each kind has its own module."""

from cxrssl.output.figure_balance import class_balance
from cxrssl.output.figure_classes import class_curves
from cxrssl.output.figure_curves import Line, label_curve, label_curve_png
from cxrssl.output.figure_fusion import fusion_examples
from cxrssl.output.figure_looks import Role
from cxrssl.output.figure_readings import Readings
from cxrssl.output.figure_runs import convergence
from cxrssl.output.figure_saved import labels_saved

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
