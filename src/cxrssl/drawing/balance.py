"""Bars of images by class, before and after oversampling: the paper's figure 3."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxrssl.drawing.looks import note_no_value
from cxrssl.drawing.svg import WIDTH_IN, page_style, svg_text

TITLE = "class balance before and after oversampling"
# Blue and Okabe and Ito's orange, made darker to stand out against white.
_BEFORE, _AFTER = "#0072B2", "#D08700"
# Characters of a class's name beside the bars of a page's figure, a quarter of its width.
_NAME_WIDTH = 20


def class_balance(names: Sequence[str], *, before: Sequence[float], after: Sequence[float]) -> str:
    """Draw bars of images by class, as SVG for a page.

    Args:
        names: Names of the classes.
        before: Training images that hold each class.
        after: Visits to such images in an epoch.

    Source: the paper, figure 3.
    """
    with page_style():
        short = [textwrap.shorten(name, 2 * _NAME_WIDTH, placeholder=" …") for name in names]
        wrapped = [textwrap.fill(name, _NAME_WIDTH) for name in short]
        figure = balance_figure(wrapped, before=before, after=after, width_in=WIDTH_IN)
        return svg_text(figure, TITLE)


def balance_figure(
    names: Sequence[str], *, before: Sequence[float], after: Sequence[float], width_in: float
) -> Figure:
    """Return the figure in the style that is set; arguments as for `class_balance`."""
    order = np.argsort(np.nan_to_num(np.asarray(after, float)), kind="stable")
    rows = np.arange(len(order))
    figure = Figure(figsize=(width_in, 1.0 + 0.36 * max(1, len(order))), layout="constrained")
    axes = figure.subplots()
    for values, shift, colour, hatch, label in (
        (before, 0.2, _BEFORE, "", "training images"),
        (after, -0.2, _AFTER, "////", "visits in an oversampled epoch"),
    ):
        counts = np.asarray(values, float)[order]
        lengths = np.nan_to_num(counts)
        bars = axes.barh(rows + shift, lengths, height=0.38, color=colour, hatch=hatch, label=label)
        axes.bar_label(bars, [_count(value) for value in counts], padding=2, fontsize="small")
    axes.set_yticks(rows, [names[row] for row in order], fontsize="small")
    axes.set(xlabel="images that hold the class", ylim=(-0.6, max(1, len(order)) - 0.4))
    # Leave room for the number beside the longest bar.
    axes.set_xlim(0, 1.12 * float(np.nanmax([1.0, *before, *after])))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        figure.legend(loc="outside upper left", frameon=False, fontsize="small", ncols=2)
    else:
        note_no_value(axes)
    return figure


def _count(value: float) -> str:
    """Return a number of images; a small one may be an expectation, such as 1.5."""
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"
