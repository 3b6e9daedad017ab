"""Scores over films up to a target, and their extrapolation beyond what was measured."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxrssl.drawing.looks import (
    Look,
    Role,
    add_legend,
    axis_top,
    legend_line,
    legend_rows,
    looks_of,
    note_no_value,
    spread,
)
from cxrssl.drawing.svg import INK, WIDTH_IN, page_style, svg_text

_LEGEND_ROW_IN = 0.2
_FAINT = 0.6
_MOST_TICKS = 7


@dataclass(frozen=True)
class TargetLine:
    """Curve of a treatment, measured and beyond.

    Attributes:
        title: Text of the legend.
        role: Self-supervised, its control, or another treatment.
        films: [K] measured numbers of films, rising.
        means: [K] mean scores.
        lows: [K] lower ends of their 95 % intervals, or None.
        highs: [K] upper ends, or None.
        beyond: [M] (films, score, least, greatest) of the extrapolation; empty without one.
        reached: Films at the target; None where it is not reached or out of range.
    """

    title: str
    role: Role
    films: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float | None]
    highs: Sequence[float | None]
    beyond: Sequence[tuple[float, float, float, float]]
    reached: float | None


def target_curve(
    lines: Sequence[TargetLine], *, metric: str, target: float, ticks: Mapping[float, str]
) -> str:
    """Draw scores over films: measured as lines, extrapolated dotted in a lighter band.

    Args:
        lines: In the order of the legend.
        metric: Label of the vertical axis.
        target: Score that is drawn as a horizontal line.
        ticks: Texts of the horizontal axis by number of films.
    """
    with page_style():
        looks = looks_of((line.title, line.role) for line in lines)
        handles = [legend_line(title, look) for title, look in looks.items()]
        handles += [_extra("target", (0, (8, 3))), _extra("extrapolated", (0, (1, 1.5)))]
        _, rows = legend_rows([str(handle.get_label()) for handle in handles])
        figure = Figure(figsize=(WIDTH_IN, 3.2 + _LEGEND_ROW_IN * rows), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        axes.axhline(target, color=INK, alpha=_FAINT, linewidth=1.2, linestyle=(0, (8, 3)))
        for line in lines:
            _draw(axes, line, looks[line.title], target)
        _film_ticks(axes, ticks, lines)
        tops = [value for line in lines for value in (*line.means, *line.highs)]
        tops += [score for line in lines for _, score, _, _ in line.beyond]
        axes.set_ylim(0, max(axis_top(tops), 1.15 * target))
        axes.set_xlabel("labelled films, and boxes in them")
        axes.set_ylabel(textwrap.fill(metric, 32))
        axes.grid(visible=True, axis="y")
        if not any(line.films for line in lines):
            note_no_value(axes)
        add_legend(figure, handles)
        return svg_text(figure, f"{metric} over labelled films, with the target {target:g}")


def _extra(label: str, dashes: tuple[float, tuple[float, ...]]) -> Line2D:
    return Line2D([], [], color=INK, alpha=_FAINT, linewidth=1.4, linestyle=dashes, label=label)


def _draw(axes: Axes, line: TargetLine, look: Look, target: float) -> None:
    if all(low is not None for low in line.lows) and all(high is not None for high in line.highs):
        lows, highs = (np.array(ends, np.float64) for ends in (line.lows, line.highs))
        axes.fill_between(line.films, lows, highs, color=look.colour, alpha=0.22, linewidth=0)
    axes.plot(
        line.films,
        line.means,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=5.5,
        linewidth=1.6,
    )
    if line.beyond:
        films, scores, lows, highs = np.array(line.beyond).T
        axes.fill_between(films, lows, highs, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(films, scores, color=look.colour, linestyle=(0, (1, 1.5)), linewidth=1.8)
    if line.reached is not None:
        axes.plot([line.reached] * 2, [0, target], color=look.colour, linewidth=1, alpha=0.7)
        axes.plot(
            line.reached,
            target,
            marker=look.marker,
            markersize=8,
            markeredgewidth=1.6,
            color=look.colour,
            # Hollow: no run was there.
            markerfacecolor="none",
        )


def _film_ticks(axes: Axes, ticks: Mapping[float, str], lines: Sequence[TargetLine]) -> None:
    ends = [films for line in lines for films in line.films]
    ends += [films for line in lines for films, *_ in line.beyond]
    if not ends:
        axes.set_xticks([])
        return
    low, high = min(ends) / 1.15, max(ends) * 1.15
    axes.set_xlim(low, high)
    places = sorted(place for place in ticks if low <= place <= high)
    gap = float(np.log2(high / low)) / _MOST_TICKS
    named = spread(np.log2(places).tolist(), gap=gap) if places else []
    axes.xaxis.set_ticks([places[n] for n in named])
    axes.xaxis.set_ticklabels([ticks[places[n]] for n in named])
    axes.xaxis.set_ticks([], minor=True)
