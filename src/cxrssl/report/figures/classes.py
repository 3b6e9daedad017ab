"""Scores over the fraction of labels, a panel a class: the paper's figure 4."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxrssl.drawing.looks import (
    add_legend,
    axis_top,
    label_fraction_ticks,
    legend_rows,
    looks_of,
    note_no_value,
)
from cxrssl.drawing.svg import WIDTH_IN, page_style, svg_text
from cxrssl.report.figures.curves import LEGEND_ROW_IN, Line, draw_lines, handles_of, values_of

# Places in inches, because a layout that is worked out gives way to long names.
_LEFT_IN, _RIGHT_IN, _BELOW_IN, _BETWEEN_IN = 0.62, 0.1, 0.45, 0.12
_PANEL_IN, _ONLY_PANEL_IN, _TITLE_LINE_IN, _TITLE_GAP_IN = 1.05, 2.0, 0.155, 0.16
# Characters of a class's name above a panel, by the panels in a row.
_TITLE_WIDTH = {1: 46, 2: 22, 3: 18}


def class_curves(classes: Mapping[str, Sequence[Line]], *, metric: str) -> str:
    """Draw a metric over the fraction of labels in a panel a class, all on the same axes.

    Args:
        classes: By name, in the order of the panels. A title looks the same in every panel.
        metric: Label of the vertical axis.

    Source: the paper, figure 4, which has all classes in one panel.
    """
    with page_style():
        all_lines = [line for lines in classes.values() for line in lines]
        looks = looks_of((line.title, line.role) for line in all_lines)
        handles = handles_of(all_lines)
        panels = list(classes.items()) or [("", [])]
        columns = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
        names = [_shortened(name, _TITLE_WIDTH[columns]) for name, _ in panels]
        _, legend = legend_rows([str(legend_line.get_label()) for legend_line in handles])
        figure, grid = _panels(names, columns, above=LEGEND_ROW_IN * legend)
        label_fraction_ticks(
            grid[0],
            {fraction for line in all_lines for fraction in line.fractions},
            most=7 // columns,
        )
        for position, (axes, name, (_, lines)) in enumerate(zip(grid, names, panels, strict=True)):
            axes.set_title(name, loc="left", fontsize=9, pad=4)
            axes.grid(visible=True, axis="y")
            # The last panel of a column has the tick labels, in whatever row it is.
            axes.tick_params(labelsize=9, labelbottom=position + columns >= len(panels))
            axes.tick_params(labelleft=position % columns == 0)
            _align_outer_ticks(axes, columns)
            if not draw_lines(axes, lines, looks, small=columns > 1):
                note_no_value(axes)
        grid[0].set_ylim(0, axis_top(values_of(all_lines)))
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
    """Return a figure with a panel of the same axes for each name, and room for all text.

    Args:
        names: Titles of the panels, of one or more lines.
        columns: Panels in a row.
        above: Inches to leave for the legend.
    """
    rows = -(-len(names) // columns)
    title = _TITLE_LINE_IN * max(name.count("\n") + 1 for name in names)
    panel_height = _ONLY_PANEL_IN if rows == 1 else _PANEL_IN
    panel_width = (WIDTH_IN - _LEFT_IN - _RIGHT_IN - _BETWEEN_IN * (columns - 1)) / columns
    row_height = panel_height + title + _TITLE_GAP_IN
    total = above + rows * row_height + _BELOW_IN
    figure = Figure(figsize=(WIDTH_IN, total))
    grid: list[Axes] = []
    for position in range(len(names)):
        row, column = divmod(position, columns)
        at_x = _LEFT_IN + column * (panel_width + _BETWEEN_IN)
        at_y = total - above - (row + 1) * row_height
        grid.append(
            figure.add_axes(
                (at_x / WIDTH_IN, at_y / total, panel_width / WIDTH_IN, panel_height / total),
                sharex=grid[0] if grid else None,
                sharey=grid[0] if grid else None,
            )
        )
    return figure, grid


def _align_outer_ticks(axes: Axes, columns: int) -> None:
    """Align the outer tick labels inwards, so that they stay within their panel."""
    labels = axes.xaxis.get_majorticklabels()
    if columns > 1 and len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def _shortened(name: str, width: int) -> str:
    """Return a class's name on two lines at most."""
    return "\n".join(textwrap.wrap(name, width, max_lines=2, placeholder=" …"))
