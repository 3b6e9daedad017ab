"""Looks of treatments: hue by role, and marker and dashes, which differ without hue.

Hues are Okabe and Ito's or near them, made darker or lighter to stand out at least 3 to 1 against
white and against the dark page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Role = Literal["ssl", "control", "other"]
Dashes = Literal["-", "none"] | tuple[float, tuple[float, ...]]

_HUES: dict[Role, tuple[str, ...]] = {
    "ssl": ("#1A7DBF", "#7A6FC0"),
    "control": ("#D55E00", "#A0702A"),
    "other": ("#009E73", "#B8609A", "#B07D00"),
}
# Of different lengths, so that several treatments of a role get different pairs.
_MARKERS: dict[Role, tuple[str, ...]] = {
    "ssl": ("o", "p", "8"),
    "control": ("s", "X", "h"),
    "other": ("^", "D", "v", "P", "*"),
}
_DASHES: dict[Role, tuple[Dashes, ...]] = {
    "ssl": ("-", (0, (9, 2))),
    "control": ((0, (5, 2)), (0, (3, 1))),
    "other": ((0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.3)), (0, (8, 1.5, 1, 1.5, 1, 1.5)), (0, (2, 3))),
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of a treatment, as matplotlib takes them."""

    colour: str
    marker: str
    dashes: Dashes


def look_of(role: Role, index: int = 0) -> Look:
    """Return the look of the index-th treatment of a role, from 0."""
    hues, markers, dashes = _HUES[role], _MARKERS[role], _DASHES[role]
    return Look(hues[index % len(hues)], markers[index % len(markers)], dashes[index % len(dashes)])


def looks_of(titled: Iterable[tuple[str, Role]]) -> dict[str, Look]:
    """Return looks by title; a title that comes again keeps the look it has."""
    looks: dict[str, Look] = {}
    num_of_role: dict[Role, int] = {}
    for title, role in titled:
        if title not in looks:
            looks[title] = look_of(role, num_of_role.get(role, 0))
            num_of_role[role] = num_of_role.get(role, 0) + 1
    return looks


def legend_rows(labels: Sequence[str], *, width: int = 56) -> tuple[int, int]:
    """Return columns and rows of a legend, so that `width` characters fit beside one another."""
    longest = max((len(label) for label in labels), default=0) + 7
    columns = max(1, min(len(labels), width // longest))
    return columns, -(-len(labels) // columns)


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Explain lines above the axes, where none can run through it."""
    if not handles:
        return
    labels = [str(legend_line.get_label()) for legend_line in handles]
    figure.legend(
        handles=list(handles),
        labels=labels,
        loc="outside upper left" if figure.get_layout_engine() else "upper left",
        ncols=legend_rows(labels)[0],
        handlelength=2.6,
        columnspacing=1.4,
        labelspacing=0.3,
        borderaxespad=0.1,
    )


def legend_line(label: str, look: Look, *, marked: bool = True) -> Line2D:
    """Return a line of a legend."""
    marker = look.marker if marked else ""
    return Line2D(
        [], [], color=look.colour, linestyle=look.dashes, marker=marker, markersize=5, label=label
    )


def percent(fraction: float) -> str:
    """Return a fraction as a percentage of three digits at most."""
    return f"{100 * fraction:.3g} %"


def label_fraction_ticks(
    axes: Axes,
    fractions: Iterable[float],
    *,
    most: int,
    axis_name: str = "x",
    amounts: Mapping[float, str] | None = None,
) -> None:
    """Make an axis logarithmic with a tick at every fraction, labelled where there is room.

    Args:
        axes: Axes of a figure.
        fractions: In (0, 1]; none for an axis without ticks.
        most: Number of tick labels that fit.
        axis_name: `x` or `y`.
        amounts: Text below the percentage, by fraction.
    """
    ticks = sorted({round(fraction, 6) for fraction in fractions}) or [0.1, 1.0]
    margin = 1.15 if len(ticks) > 1 else 2.0
    low, high = ticks[0] / margin, ticks[-1] * margin
    axis = axes.xaxis if axis_name == "x" else axes.yaxis
    (axes.set_xscale if axis_name == "x" else axes.set_yscale)("log", base=2)
    (axes.set_xlim if axis_name == "x" else axes.set_ylim)(low, high)
    named = spread(np.log2(ticks).tolist(), gap=float(np.log2(high / low)) / most)
    axis.set_ticks([ticks[n] for n in named])
    texts = {round(fraction, 6): f"\n{text}" for fraction, text in (amounts or {}).items()}
    axis.set_ticklabels([percent(ticks[n]) + texts.get(ticks[n], "") for n in named])
    axis.set_ticks([ticks[n] for n in range(len(ticks)) if n not in named], minor=True)
    axis.set_ticklabels([], minor=True)


def spread(positions: Sequence[float], *, gap: float) -> list[int]:
    """Return the indices of the rising positions to name: the last, then all `gap` from these."""
    named: list[int] = []
    for index in (len(positions) - 1, *range(len(positions) - 1)):
        if all(abs(positions[index] - positions[other]) >= gap for other in named):
            named.append(index)
    return sorted(named)


def axis_top(values: Iterable[float | None]) -> float:
    """Return where a vertical axis from 0 ends: a little above the greatest finite value."""
    finite = [value for value in values if value is not None and np.isfinite(value)]
    greatest = max(finite, default=0.0)
    return 1.08 * greatest if greatest > 0 else 0.1


def note_no_value(axes: Axes) -> None:
    """Write into empty axes that there is no value yet."""
    axes.grid(visible=False)
    axes.text(0.5, 0.7, "no value yet", transform=axes.transAxes, ha="center", va="center")
