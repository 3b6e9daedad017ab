"""Scores over the share of labels, a panel a class: the paper's figure 4."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxrssl.drawing.looks import (
    add_legend,
    legend_rows,
    looks_of,
    say_nothing_yet,
    share_ticks,
    top_of,
)
from cxrssl.drawing.svg import WIDTH_IN, page_style, svg_text
from cxrssl.report.figures.curves import LEGEND_ROW_IN, Line, draw_lines, handles_of, values_of

# Places in inches, because a layout that is worked out gives way to long names.
_LEFT_IN, _RIGHT_IN, _BELOW_IN, _BETWEEN_IN = 0.62, 0.1, 0.45, 0.12
_PANEL_IN, _ONLY_PANEL_IN, _TITLE_LINE_IN, _TITLE_GAP_IN = 1.05, 2.0, 0.155, 0.16
# Characters of a class's name above a panel, by the panels in a row.
_TITLE_WIDTH = {1: 46, 2: 22, 3: 18}


def class_curves(classes: Mapping[str, Sequence[Line]], *, metric: str) -> str:
    """Draw a metric over the share of labels in a panel a class, all on the same axes.

    Args:
        classes: By name, in the order of the panels. A title looks the same in every panel.
        metric: What the vertical axis says.

    Source: the paper, figure 4, which has all classes in one panel.
    """
    with page_style():
        every = [line for lines in classes.values() for line in lines]
        looks = looks_of((line.title, line.role) for line in every)
        handles = handles_of(every)
        panels = list(classes.items()) or [("", [])]
        columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
        names = [_shortened(name, _TITLE_WIDTH[columns]) for name, _ in panels]
        _, legend = legend_rows([str(one.get_label()) for one in handles])
        figure, grid = _panels(names, columns, above=LEGEND_ROW_IN * legend)
        share_ticks(grid[0], {share for line in every for share in line.shares}, most=7 // columns)
        for place, (axes, name, (_, lines)) in enumerate(zip(grid, names, panels, strict=True)):
            axes.set_title(name, loc="left", fontsize=9, pad=4)
            axes.grid(visible=True, axis="y")
            # The last panel of a column names the shares, in whatever row it is.
            axes.tick_params(labelsize=9, labelbottom=place + columns >= len(panels))
            axes.tick_params(labelleft=place % columns == 0)
            _turn_inwards(axes, columns)
            if not draw_lines(axes, lines, looks, small=columns > 1):
                say_nothing_yet(axes)
        grid[0].set_ylim(0, top_of(values_of(every)))
        grid[0].yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        height = figure.get_figheight()
        figure.text(0.5, 0.03 / height, "training labels", ha="center", va="bottom")
        figure.text(
            0.02 / WIDTH_IN,
            0.5,
            textwrap.fill(metric, 32 * -(-len(panels) // columns)),
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            va="top",
        )
        add_legend(figure, handles)
        return svg_text(figure, f"{metric} over the share of training labels, by class")


def _panels(names: Sequence[str], columns: int, *, above: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes that are alike, one a name, and room for all text around them.

    Args:
        names: Above the axes, of one or more lines.
        columns: Axes in a row.
        above: Inches to leave for the legend.
    """
    rows = -(-len(names) // columns)
    title = _TITLE_LINE_IN * max(name.count("\n") + 1 for name in names)
    side = _ONLY_PANEL_IN if rows == 1 else _PANEL_IN
    wide = (WIDTH_IN - _LEFT_IN - _RIGHT_IN - _BETWEEN_IN * (columns - 1)) / columns
    pitch = side + title + _TITLE_GAP_IN
    total = above + rows * pitch + _BELOW_IN
    figure = Figure(figsize=(WIDTH_IN, total))
    grid: list[Axes] = []
    for place in range(len(names)):
        row, column = divmod(place, columns)
        at_x = _LEFT_IN + column * (wide + _BETWEEN_IN)
        at_y = total - above - (row + 1) * pitch
        grid.append(
            figure.add_axes(
                (at_x / WIDTH_IN, at_y / total, wide / WIDTH_IN, side / total),
                sharex=grid[0] if grid else None,
                sharey=grid[0] if grid else None,
            )
        )
    return figure, grid


def _turn_inwards(axes: Axes, columns: int) -> None:
    """Keep the outer names of shares within their panel, where the next panel's begin."""
    labels = axes.xaxis.get_majorticklabels()
    if columns > 1 and len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def _shortened(name: str, width: int) -> str:
    """Return a class's name on two lines at most."""
    return "\n".join(textwrap.wrap(name, width, max_lines=2, placeholder=" …"))
