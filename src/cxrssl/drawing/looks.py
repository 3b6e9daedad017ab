"""How initialisations look: hue by role, and marker and dashes, so that hue is not needed to tell.

Hues are Okabe and Ito's or near them, made darker or lighter to stand out at least 3 to 1 against
white and against the dark page.
"""

from collections.abc import Iterable, Sequence
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
# Of different lengths, so that several initialisations of a role get different pairs.
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
    """Colour, marker and dashes of an initialisation, as matplotlib takes them."""

    colour: str
    marker: str
    dashes: Dashes


def look_of(role: Role, place: int = 0) -> Look:
    """Return the look of the place-th initialisation of a role, from 0."""
    hues, markers, dashes = _HUES[role], _MARKERS[role], _DASHES[role]
    return Look(hues[place % len(hues)], markers[place % len(markers)], dashes[place % len(dashes)])


def looks_of(titled: Iterable[tuple[str, Role]]) -> dict[str, Look]:
    """Return looks by title; a title that comes again keeps the look it has."""
    looks: dict[str, Look] = {}
    seen: dict[Role, int] = {}
    for title, role in titled:
        if title not in looks:
            looks[title] = look_of(role, seen.get(role, 0))
            seen[role] = seen.get(role, 0) + 1
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
    labels = [str(handle.get_label()) for handle in handles]
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


def handle(label: str, look: Look, *, marked: bool = True) -> Line2D:
    """Return a line of a legend."""
    marker = look.marker if marked else ""
    return Line2D(
        [], [], color=look.colour, linestyle=look.dashes, marker=marker, markersize=5, label=label
    )


def percent(share: float) -> str:
    """Return a share of the labels in as few digits as it has, three at most."""
    return f"{100 * share:.3g} %"


def share_ticks(axes: Axes, shares: Iterable[float], *, most: int, which: str = "x") -> None:
    """Make an axis logarithmic with a tick at every share, and names at those that have room.

    Args:
        axes: Of one figure.
        shares: In (0, 1]; none for an axis without ticks.
        most: Names that fit beside one another.
        which: `x` or `y`.
    """
    wanted = sorted({round(share, 6) for share in shares}) or [0.1, 1.0]
    margin = 1.15 if len(wanted) > 1 else 2.0
    low, high = wanted[0] / margin, wanted[-1] * margin
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log", base=2)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    named = _spread(np.log2(wanted).tolist(), gap=float(np.log2(high / low)) / most)
    axis.set_ticks([wanted[place] for place in named])
    axis.set_ticklabels([percent(wanted[place]) for place in named])
    axis.set_ticks([wanted[n] for n in range(len(wanted)) if n not in named], minor=True)
    axis.set_ticklabels([], minor=True)


def _spread(places: Sequence[float], *, gap: float) -> list[int]:
    """Return which of the rising places to name: the ends, then those apart from all named."""
    named: list[int] = []
    for place in (len(places) - 1, *range(len(places) - 1)):
        if all(abs(places[place] - places[other]) >= gap for other in named):
            named.append(place)
    return sorted(named)


def top_of(values: Iterable[float | None]) -> float:
    """Return where a vertical axis from 0 ends: a little above the greatest finite value."""
    found = [value for value in values if value is not None and np.isfinite(value)]
    greatest = max(found, default=0.0)
    return 1.08 * greatest if greatest > 0 else 0.1


def say_nothing_yet(axes: Axes) -> None:
    """Write into empty axes why they are."""
    axes.grid(visible=False)
    axes.text(0.5, 0.7, "no value yet", transform=axes.transAxes, ha="center", va="center")
