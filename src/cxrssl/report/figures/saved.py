"""Labels saved: with how many labels the control scores as the self-supervised start does."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrssl.drawing.looks import add_legend, handle, look_of, say_nothing_yet, share_ticks
from cxrssl.drawing.svg import INK, WIDTH_IN, page_style, svg_text

_FAINT = 0.55
# How a share is drawn that is below the control's least or beyond its greatest.
_ARROWS = {0.0: "v", math.inf: "^"}


def labels_saved(
    rows: Sequence[tuple[float, float, float, float]], *, least: float, most: float
) -> str:
    """Draw, for each label share with SSL, the share at which the control scores the same.

    Above the diagonal SSL saves labels. What lies beyond the control's curve is an arrow at its
    end: it is more than the data can tell.

    Args:
        rows: (share, needed, low, high): label share with SSL, share that the control needs, and
            its interval. 0 is below the control's least share, inf beyond its greatest, and nan is
            not known.
        least: Smallest label share of the control.
        most: Greatest.
    """
    with page_style():
        figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
        axes = figure.subplots()
        shares = {share for share, *_ in rows}
        # Both axes are the same, so that "as many" is the diagonal.
        ends = {least, most} | shares
        share_ticks(axes, ends, most=6)
        share_ticks(axes, ends, most=14, which="y")
        margin = 1.35 if len(ends) > 1 else 2.5
        low, high = min(ends) / margin, max(ends) * margin
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        handles = [handle("needed by the control", look_of("ssl")), *_guides(axes, low, high)]
        beyond = Line2D([], [], color=look_of("ssl").colour, linestyle="none", marker="^")
        beyond.set_label("beyond its curve")
        add_legend(figure, [*handles, beyond])
        for share, needed, end, other_end in rows:
            _draw(axes, share, needed, (end, other_end), floor=least / 1.16, ceiling=most * 1.16)
        if all(math.isnan(needed) for _, needed, *_ in rows):
            say_nothing_yet(axes)
        axes.set_xlabel("labels with SSL")
        axes.set_ylabel("labels for the same score without SSL")
        return svg_text(figure, "labels needed for the same score, with SSL and without")


def _guides(axes: Axes, low: float, high: float) -> list[Line2D]:
    """Draw where SSL saves nothing and where it saves half, and return the legend's lines."""
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
    share: float,
    needed: float,
    interval: tuple[float, float],
    *,
    floor: float,
    ceiling: float,
) -> None:
    """Draw one point with its interval; what is beyond an end is an arrow there."""

    def at(value: float) -> float:
        return min(max(value, floor), ceiling)

    look = look_of("ssl")
    if not any(math.isnan(end) for end in interval):
        axes.plot([share] * 2, [at(end) for end in interval], color=look.colour, linewidth=1.6)
        for end in interval:
            if end != needed:
                marker = _ARROWS.get(end, "_")
                axes.plot(share, at(end), marker=marker, color=look.colour, markersize=7)
    if not math.isnan(needed):
        arrow = _ARROWS.get(needed)
        axes.plot(
            share,
            at(needed),
            marker=arrow or look.marker,
            markersize=10 if arrow else 8,
            markeredgewidth=1.6,
            color=look.colour,
            # Hollow: no place was measured.
            markerfacecolor="none" if arrow else look.colour,
        )
