"""Labels saved: with how many labels the control scores as the self-supervised start does."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrssl.drawing.looks import (
    add_legend,
    label_fraction_ticks,
    legend_line,
    look_of,
    note_no_value,
)
from cxrssl.drawing.svg import INK, WIDTH_IN, page_style, svg_text

_FAINT = 0.55
# Marker of a fraction that is below the control's least or beyond its greatest.
_ARROWS = {0.0: "v", math.inf: "^"}


def labels_saved(
    rows: Sequence[tuple[float, float, float, float]], *, least: float, most: float
) -> str:
    """Draw, for each label fraction, the fraction at which the control scores the same.

    Above the diagonal the treatment saves labels. What lies beyond the control's curve is an arrow
    at its end: it is more than the data can tell.

    Args:
        rows: (fraction, needed, low, high): label fraction of the treatment, fraction that the
            control needs, and its interval. 0 is below the control's least fraction, inf beyond its
            greatest, and nan is not known.
        least: Smallest label fraction of the control.
        most: Greatest label fraction of the control.
    """
    with page_style():
        figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
        axes = figure.subplots()
        fractions = {fraction for fraction, *_ in rows}
        # Both axes are the same, so that "as many" is the diagonal.
        ends = {least, most} | fractions
        label_fraction_ticks(axes, ends, most=6)
        label_fraction_ticks(axes, ends, most=14, axis_name="y")
        margin = 1.35 if len(ends) > 1 else 2.5
        low, high = min(ends) / margin, max(ends) * margin
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        handles = [legend_line("needed by the control", look_of("ssl")), *_guides(axes, low, high)]
        beyond = Line2D([], [], color=look_of("ssl").colour, linestyle="none", marker="^")
        beyond.set_label("beyond its curve")
        add_legend(figure, [*handles, beyond])
        for fraction, needed, low_needed, high_needed in rows:
            interval = low_needed, high_needed
            _draw(axes, fraction, needed, interval, bottom=least / 1.16, top=most * 1.16)
        if all(math.isnan(needed) for _, needed, *_ in rows):
            note_no_value(axes)
        axes.set_xlabel("labels seen")
        axes.set_ylabel("labels of the control for the same score")
        return svg_text(figure, "labels seen, and labels that the control needs for the same score")


def _guides(axes: Axes, low: float, high: float) -> list[Line2D]:
    """Draw where nothing is saved and where half is, and return the legend's lines."""
    handles = []
    for factor, dashes, label in (
        (1, (0, (6, 2)), "no labels saved"),
        (2, (0, (1, 2)), "half of them saved"),
    ):
        line = Line2D(
            [low, high / factor],
            [low * factor, high],
            color=INK,
            alpha=_FAINT,
            linewidth=1.2,
            linestyle=dashes,
            zorder=1,
            label=label,
        )
        axes.add_line(line)
        handles.append(line)
    return handles


def _draw(
    axes: Axes,
    fraction: float,
    needed: float,
    interval: tuple[float, float],
    *,
    bottom: float,
    top: float,
) -> None:
    """Draw a point with its interval; what is below `bottom` or above `top` is an arrow there."""

    def clipped(value: float) -> float:
        return min(max(value, bottom), top)

    look = look_of("ssl")
    if not any(math.isnan(limit) for limit in interval):
        axes.plot(
            [fraction] * 2, [clipped(limit) for limit in interval], color=look.colour, linewidth=1.6
        )
        for limit in interval:
            if limit != needed:
                marker = _ARROWS.get(limit, "_")
                axes.plot(fraction, clipped(limit), marker=marker, color=look.colour, markersize=7)
    if not math.isnan(needed):
        arrow = _ARROWS.get(needed)
        axes.plot(
            fraction,
            clipped(needed),
            marker=arrow or look.marker,
            markersize=10 if arrow else 8,
            markeredgewidth=1.6,
            color=look.colour,
            # Hollow: no place was measured.
            markerfacecolor="none" if arrow else look.colour,
        )
