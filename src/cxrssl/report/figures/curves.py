"""Scores over the share of labels, a line an initialisation."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    handle,
    legend_rows,
    looks_of,
    say_nothing_yet,
    share_ticks,
    top_of,
)
from cxrssl.drawing.svg import NOTE_GREY, WIDTH_IN, page_style, png, svg_text

LEGEND_ROW_IN = 0.2


@dataclass(frozen=True)
class Line:
    """One initialisation's curve; a value that can't be computed is nan, and nothing is there.

    Attributes:
        title: What the legend says.
        role: Whether it is self-supervised, what that is compared with, or another start.
        shares: Label shares in (0, 1], rising.
        means: By share, over its seeds.
        lows: 95 % interval of the mean by share, or None.
        highs: Likewise.
        runs: By share: the value of each seed.
    """

    title: str
    role: Role
    shares: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    runs: Sequence[Sequence[float]]


def label_curve(
    lines: Sequence[Line], *, metric: str, reference: Sequence[tuple[float, float]] = ()
) -> str:
    """Draw a metric over the share of labels: means, intervals as bands, a dot a seed.

    The horizontal axis is logarithmic, because scores grow by about as much with every doubling of
    the labels; the vertical one begins at 0.

    Args:
        lines: In the order of the legend; with no value in them, the figure says so.
        metric: What the vertical axis says.
        reference: The paper's (label share, value).
    """
    with page_style():
        figure = _label_figure(lines, metric, reference)
        return svg_text(figure, f"{metric} over the share of training labels")


def label_curve_png(
    lines: Sequence[Line], *, metric: str, reference: Sequence[tuple[float, float]] = ()
) -> bytes:
    """Draw the same on white, as a PNG: for pages that show no SVG, such as a card of the Hub."""
    with page_style():
        return png(_label_figure(lines, metric, reference))


def _label_figure(
    lines: Sequence[Line], metric: str, reference: Sequence[tuple[float, float]]
) -> Figure:
    """Draw a label curve; called in `page_style`."""
    handles = handles_of(lines, paper=bool(reference))
    _, rows = legend_rows([str(one.get_label()) for one in handles])
    figure = Figure(figsize=(WIDTH_IN, 2.9 + LEGEND_ROW_IN * rows), layout="constrained")
    axes = figure.subplots()
    drawn = draw_lines(axes, lines, looks_of((line.title, line.role) for line in lines))
    if reference:
        shares, values = zip(*reference, strict=True)
        axes.plot(shares, values, "x", color=NOTE_GREY, markersize=6, markeredgewidth=1.6)
    wanted = {share for line in lines for share in line.shares} or {s for s, _ in reference}
    share_ticks(axes, wanted, most=7)
    _widen(axes, [share for share, _ in reference])
    axes.set_ylim(0, top_of([*values_of(lines), *(value for _, value in reference)]))
    axes.set_xlabel("training labels")
    axes.set_ylabel(textwrap.fill(metric, 32))
    axes.grid(visible=True, axis="y")
    if not drawn and not reference:
        say_nothing_yet(axes)
    add_legend(figure, handles)
    return figure


def draw_lines(
    axes: Axes, lines: Sequence[Line], looks: Mapping[str, Look], *, small: bool = False
) -> bool:
    """Draw what lines hold, and return whether that is anything.

    Args:
        axes: Logarithmic in the label share.
        lines: Whose titles are among `looks`.
        looks: By title.
        small: For a panel among many.
    """
    drawn = False
    for line in lines:
        shares, means, lows, highs = _columns(line)
        there = np.isfinite(means)
        drawn = drawn or bool(there.any())
        look = looks[line.title]
        _band(axes, shares, lows, highs, look)
        dots = [
            (share, value)
            for share, values in zip(line.shares, line.runs, strict=True)
            for value in values
            if len(values) > 1 and np.isfinite(value)
        ]
        if dots:
            at_x, at_y = zip(*dots, strict=True)
            # Beside the mean, whose marker would hide them.
            beside = ScaledTranslation(0.05 if small else 0.09, 0, axes.figure.dpi_scale_trans)
            axes.plot(
                at_x,
                at_y,
                linestyle="none",
                marker=look.marker,
                markersize=1.6 if small else 2.6,
                markeredgewidth=0,
                color=look.colour,
                alpha=0.8,
                clip_on=False,
                transform=axes.transData + beside,
            )
        axes.plot(
            shares[there],
            means[there],
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=3.5 if small else 5.5,
            linewidth=1.2 if small else 1.6,
            # A marker at 0 is whole.
            clip_on=False,
        )
    return drawn


def _band(
    axes: Axes,
    shares: NDArray[np.float64],
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    look: Look,
) -> None:
    """Draw intervals as a band; one without a neighbour has no area there and becomes a bar."""
    there = np.isfinite(lows) & np.isfinite(highs)
    padded = np.concatenate([[False], there, [False]])
    alone = there & ~padded[:-2] & ~padded[2:]
    area = (there & ~alone).tolist()
    axes.fill_between(shares, lows, highs, where=area, color=look.colour, alpha=0.16, linewidth=0)
    for place in np.flatnonzero(alone):
        axes.plot(
            [shares[place]] * 2,
            [lows[place], highs[place]],
            color=look.colour,
            alpha=0.3,
            linewidth=4,
            solid_capstyle="butt",
        )


def _columns(line: Line) -> tuple[NDArray[np.float64], ...]:
    """Return shares, means, lows and highs, nan for what there is not."""
    rows = [
        [np.nan if value is None else value for value in row]
        for row in zip(line.shares, line.means, line.lows, line.highs, strict=True)
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
    handles = [handle(title, look) for title, look in looks.items()]
    if paper:
        cross = Look(NOTE_GREY, "x", "none")
        handles.append(handle("the paper", cross))
    return handles


def _widen(axes: Axes, shares: Sequence[float]) -> None:
    low, high = axes.get_xlim()
    if shares:
        axes.set_xlim(min(low, min(shares) / 1.15), max(high, max(shares) * 1.15))
