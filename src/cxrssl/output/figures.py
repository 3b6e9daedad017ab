"""Figures of the report, as SVG text that stands inside a page. The only door to matplotlib."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cxrssl.core.boxes import Boxes
from cxrssl.core.images import Pixels

# Okabe and Ito's colours keep apart for every kind of colour vision.
COLOURS = {"ssl": "#0072B2", "control": "#D55E00", "baseline": "#555555"}
NAMES = {"ssl": "SSL, then labels", "control": "same labels, no SSL", "baseline": "all labels"}
_TRUTH, _FOUND = "#F0E442", "#56B4E9"


@dataclass(frozen=True)
class Panel:
    """One image of a gallery: truth and detections, boxes xyxy in pixels of the image."""

    title: str
    pixels: Pixels
    truth: Boxes
    truth_names: Sequence[str]
    found: Boxes
    found_names: Sequence[str]


def label_curve(
    points: Mapping[str, Sequence[tuple[float, float]]], *, metric: str, baseline: float | None
) -> str:
    """Draw a metric over the share of labels, a line a kind of arm; one dot a seed.

    Args:
        points: By kind (`ssl`, `control`): (label share in 0..1, value) for every seed.
        metric: What the vertical axis says.
        baseline: The arm with all labels, as a dashed line, or None.
    """
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for kind, pairs in points.items():
        shares = sorted({share for share, _ in pairs})
        means = [np.mean([v for s, v in pairs if s == share]) for share in shares]
        axes.plot([100 * s for s in shares], means, color=COLOURS[kind], label=NAMES[kind])
        axes.scatter(
            [100 * s for s, _ in pairs], [v for _, v in pairs], color=COLOURS[kind], s=26, zorder=3
        )
    if baseline is not None:
        axes.axhline(baseline, color=COLOURS["baseline"], linestyle="--", label=NAMES["baseline"])
    values = [value for pairs in points.values() for _, value in pairs]
    top = 1.15 * max([0.1, baseline or 0.0, *values])
    axes.set(xlabel="training labels, %", ylabel=metric, xlim=(0, 102), ylim=(0, top))
    axes.grid(visible=True, alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    return _svg(figure, f"{metric} over the share of labels")


def gallery(panels: Sequence[Panel]) -> str:
    """Draw radiographs with truth (solid) and detections (dashed)."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, panel in zip(grid, panels, strict=False):
        axes.imshow(panel.pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(panel.title, fontsize=7)
        _draw(axes, panel.truth, panel.truth_names, colour=_TRUTH, style="-", above=True)
        _draw(axes, panel.found, panel.found_names, colour=_FOUND, style="--", above=False)
    return _svg(figure, "test images with truth and detections")


def _draw(
    axes: Axes, boxes: Boxes, names: Sequence[str], *, colour: str, style: str, above: bool
) -> None:
    for (x0, y0, x1, y1), name in zip(boxes.tolist(), names, strict=True):
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=style)
        )
        axes.text(
            x0,
            y0 - 1 if above else y1 + 1,
            name,
            color=colour,
            fontsize=5,
            va="bottom" if above else "top",
            clip_on=True,
        )


def _svg(figure: Figure, title: str) -> str:
    # Text stays text, and nothing in the file depends on the day it was drawn.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cxrssl", "font.size": 9}):
        sink = io.StringIO()
        figure.savefig(sink, format="svg", metadata={"Date": None, "Title": title})
    text = sink.getvalue()
    return text[text.index("<svg") :]
