"""Losses over the training steps of many runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cxrssl.drawing.looks import Role, add_legend, legend_line, look_of, note_no_value
from cxrssl.drawing.svg import INK, WIDTH_IN, page_style, svg_text

Points = NDArray[np.float64]

_ROLE_NAMES: dict[Role, str] = {
    "ssl": "treatment", "control": "control", "other": "another treatment"
}  # fmt: skip
_DOTTED = (0, (1, 2))
# From so many runs on, their noise would cover them all.
_MANY_RUNS = 13
_MEANS_OF_A_RUN = 60
# More stretches than this are finer than a figure's points.
_MOST_STRETCHES = 300


def convergence(
    runs: Mapping[str, Sequence[tuple[int, float]]],
    *,
    roles: Mapping[str, Role],
    ylabel: str,
    names: Mapping[Role, str] = _ROLE_NAMES,
    chance: float | None = None,
) -> str:
    """Draw a loss over the steps, a thin line a run; the legend names roles, not runs.

    Up to 12 runs nothing is smoothed: one of more points than can be seen is drawn by the least and
    the greatest value of each short stretch, so that no peak is lost. Of more runs each is drawn by
    the means of 60 stretches, and the figure says so. A loss that is not finite interrupts a line.

    Args:
        runs: (step, loss) in order, by the run's title. One without points counts in no legend.
        roles: Role of each run, by title.
        ylabel: Label of the vertical axis.
        names: What the legend calls each role.
        chance: Loss of guessing at random, drawn as a dotted line, or None.
    """
    with page_style():
        figure = Figure(figsize=(WIDTH_IN, 3.0), layout="constrained")
        axes = figure.subplots()
        started = {
            title: np.array(points, np.float64) for title, points in runs.items() if len(points)
        }
        many = len(started) >= _MANY_RUNS
        for title, points in started.items():
            _draw(axes, _averaged(points) if many else _thinned(points), roles[title], many=many)
        smoothed = many and any(len(points) > _MEANS_OF_A_RUN for points in started.values())
        handles = [
            legend_line(f"{name} ({count})", look_of(role), marked=False)
            for role, name in names.items()
            if (count := sum(roles[title] == role for title in started))
        ]
        if chance is not None:
            axes.axhline(chance, color=INK, linestyle=_DOTTED, linewidth=1.2)
            label = f"chance, {chance:.3g}"
            handles.append(Line2D([], [], color=INK, linestyle=_DOTTED, label=label))
        axes.set_xlabel(f"step; means of 1/{_MEANS_OF_A_RUN} of a run" if smoothed else "step")
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(visible=True, axis="y")
        if not started:
            note_no_value(axes)
        add_legend(figure, handles)
        return svg_text(figure, f"{ylabel} over the steps of {len(started)} runs")


def _draw(axes: Axes, points: Points, role: Role, *, many: bool) -> None:
    """Draw a run, with a dot where a point has no neighbour to be joined to."""
    look = look_of(role)
    finite = np.concatenate([[False], np.isfinite(points[:, 1]), [False]])
    isolated = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    axes.plot(
        points[:, 0],
        points[:, 1],
        color=look.colour,
        linestyle=look.dashes,
        linewidth=0.8 if many else 1.1,
        alpha=0.6 if many else 0.9,
        marker=".",
        markevery=np.flatnonzero(isolated).tolist(),
    )


def _averaged(points: Points) -> Points:
    """Return the means [60, 2] of as many stretches of a run [N, 2]; of a shorter one, itself."""
    if len(points) <= _MEANS_OF_A_RUN:
        return points
    return np.stack([part.mean(axis=0) for part in np.array_split(points, _MEANS_OF_A_RUN)])


def _thinned(points: Points) -> Points:
    """Return of many points [N, 2] the least, greatest and first not finite of each stretch."""
    if len(points) <= 2 * _MOST_STRETCHES:
        return points
    losses = points[:, 1]
    rows: set[int] = set()
    for stretch in np.array_split(np.arange(len(losses)), _MOST_STRETCHES):
        finite = stretch[np.isfinite(losses[stretch])]
        not_finite = stretch[~np.isfinite(losses[stretch])]
        if len(finite):
            finite_losses = losses[finite]
            rows |= {int(finite[finite_losses.argmin()]), int(finite[finite_losses.argmax()])}
        rows |= set(not_finite[:1].tolist())
    return points[sorted(rows)]
