"""Scores over the fraction of labels, a line a treatment."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from cxrssl.drawing.looks import (
    Look,
    Role,
    add_legend,
    axis_top,
    label_fraction_ticks,
    legend_line,
    legend_rows,
    looks_of,
    note_no_value,
)
from cxrssl.drawing.svg import NOTE_GREY, WIDTH_IN, page_style, png_bytes, svg_text

LEGEND_ROW_IN = 0.2
_NO_AMOUNTS: Mapping[float, str] = MappingProxyType({})


@dataclass(frozen=True)
class Line:
    """Curve of a treatment; a value that can't be computed is nan, and not drawn.

    Attributes:
        title: Text of the legend.
        role: Self-supervised, its control, or another treatment.
        fractions: Label fractions in (0, 1], rising.
        means: Mean over seeds at each fraction.
        lows: Lower end of the mean's 95 % interval at each fraction, or None.
        highs: Upper end of the interval, or None.
        runs: Value of each seed at each fraction.
    """

    title: str
    role: Role
    fractions: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    runs: Sequence[Sequence[float]]


def label_curve(
    lines: Sequence[Line],
    *,
    metric: str,
    reference: Sequence[tuple[float, float]] = (),
    amounts: Mapping[float, str] = _NO_AMOUNTS,
) -> str:
    """Draw a metric over the fraction of labels: means, intervals as bands, a dot a seed.

    The horizontal axis is logarithmic, because scores grow by about as much with every doubling of
    the labels; the vertical one begins at 0.

    Args:
        lines: In the order of the legend; with no value in them, the figure says so.
        metric: Label of the vertical axis.
        reference: Points of the paper, (label fraction, value).
        amounts: Films and boxes of a fraction, in lines below its percentage.
    """
    with page_style():
        figure = _label_figure(lines, metric, reference, amounts)
        return svg_text(figure, f"{metric} over the share of training labels")


def label_curve_png(
    lines: Sequence[Line],
    *,
    metric: str,
    reference: Sequence[tuple[float, float]] = (),
    amounts: Mapping[float, str] = _NO_AMOUNTS,
) -> bytes:
    """Draw the same on white, as a PNG: for pages that show no SVG, such as a card of the Hub."""
    with page_style():
        return png_bytes(_label_figure(lines, metric, reference, amounts))


def _label_figure(
    lines: Sequence[Line],
    metric: str,
    reference: Sequence[tuple[float, float]],
    amounts: Mapping[float, str],
) -> Figure:
    """Draw a label curve; called in `page_style`."""
    handles = handles_of(lines, paper=bool(reference))
    _, rows = legend_rows([str(legend_line.get_label()) for legend_line in handles])
    figure = Figure(figsize=(WIDTH_IN, 2.9 + LEGEND_ROW_IN * rows), layout="constrained")
    axes = figure.subplots()
    drawn = draw_lines(axes, lines, looks_of((line.title, line.role) for line in lines))
    if reference:
        paper_fractions, values = zip(*reference, strict=True)
        axes.plot(paper_fractions, values, "x", color=NOTE_GREY, markersize=6, markeredgewidth=1.6)
    fractions = {fraction for line in lines for fraction in line.fractions} or {
        s for s, _ in reference
    }
    label_fraction_ticks(axes, fractions, most=6 if amounts else 7, amounts=amounts)
    _widen(axes, [fraction for fraction, _ in reference])
    axes.set_ylim(0, axis_top([*values_of(lines), *(value for _, value in reference)]))
    axes.set_xlabel("training labels")
    axes.set_ylabel(textwrap.fill(metric, 32))
    axes.grid(visible=True, axis="y")
    if not drawn and not reference:
        note_no_value(axes)
    add_legend(figure, handles)
    return figure


def draw_lines(
    axes: Axes, lines: Sequence[Line], looks: Mapping[str, Look], *, small: bool = False
) -> bool:
    """Draw lines, and return whether any has a value.

    Args:
        axes: Axes, logarithmic in the label fraction.
        lines: Lines whose titles are among `looks`.
        looks: Look of each title.
        small: For a panel among many.
    """
    drawn = False
    for line in lines:
        fractions, means, lows, highs = _columns(line)
        finite = np.isfinite(means)
        drawn = drawn or bool(finite.any())
        look = looks[line.title]
        _band(axes, fractions, lows, highs, look)
        dots = [
            (fraction, value)
            for fraction, values in zip(line.fractions, line.runs, strict=True)
            for value in values
            if len(values) > 1 and np.isfinite(value)
        ]
        if dots:
            x, y = zip(*dots, strict=True)
            # Beside the mean, whose marker would hide them.
            offset = ScaledTranslation(0.05 if small else 0.09, 0, axes.figure.dpi_scale_trans)
            axes.plot(
                x,
                y,
                linestyle="none",
                marker=look.marker,
                markersize=1.6 if small else 2.6,
                markeredgewidth=0,
                color=look.colour,
                alpha=0.8,
                clip_on=False,
                transform=axes.transData + offset,
            )
        axes.plot(
            fractions[finite],
            means[finite],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=3.5 if small else 5.5,
            linewidth=1.2 if small else 1.6,
            # A marker at 0 is drawn in full.
            clip_on=False,
        )
    return drawn


def _band(
    axes: Axes,
    fractions: NDArray[np.float64],
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    look: Look,
) -> None:
    """Draw intervals as a band; one without a neighbour has no area there and becomes a bar."""
    finite = np.isfinite(lows) & np.isfinite(highs)
    padded = np.concatenate([[False], finite, [False]])
    isolated = finite & ~padded[:-2] & ~padded[2:]
    area = (finite & ~isolated).tolist()
    axes.fill_between(
        fractions, lows, highs, where=area, color=look.colour, alpha=0.16, linewidth=0
    )
    for position in np.flatnonzero(isolated):
        axes.plot(
            [fractions[position]] * 2,
            [lows[position], highs[position]],
            color=look.colour,
            alpha=0.3,
            linewidth=4,
            solid_capstyle="butt",
        )


def _columns(line: Line) -> tuple[NDArray[np.float64], ...]:
    """Return fractions, means, lows and highs, nan for missing values."""
    rows = [
        [np.nan if value is None else value for value in row]
        for row in zip(line.fractions, line.means, line.lows, line.highs, strict=True)
    ]
    return tuple(np.array(rows, np.float64).reshape(-1, 4).T)


def values_of(lines: Iterable[Line]) -> list[float | None]:
    """Return every value that a vertical axis has to hold."""
    return [
        value
        for line in lines
        for values in (line.means, line.highs, *line.runs)
        for value in values
    ]


def handles_of(lines: Iterable[Line], *, paper: bool = False) -> list[Line2D]:
    """Return a legend's lines, one a title."""
    looks = looks_of((line.title, line.role) for line in lines)
    handles = [legend_line(title, look) for title, look in looks.items()]
    if paper:
        cross = Look(NOTE_GREY, "x", "none")
        handles.append(legend_line("the paper", cross))
    return handles


def _widen(axes: Axes, fractions: Sequence[float]) -> None:
    low, high = axes.get_xlim()
    if fractions:
        axes.set_xlim(min(low, min(fractions) / 1.15), max(high, max(fractions) * 1.15))
