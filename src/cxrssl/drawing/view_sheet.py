"""A sheet of images with the views cut from them, to look at before a long run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cxrssl.core.files import replacing
from cxrssl.core.images import Pixels

# Okabe and Ito's orange and sky blue keep apart for every kind of colour vision, on grey too.
_COLOURS = ("#E69F00", "#56B4E9")


@dataclass(frozen=True)
class SheetView:
    """One view: its pixels [size, size], its crop in the image's pixels, and what was done."""

    pixels: Pixels
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    caption: str


@dataclass(frozen=True)
class SheetRow:
    """An image [H, W] as training sees it, and its two views."""

    title: str
    pixels: Pixels
    views: tuple[SheetView, SheetView]


def save_view_sheet(rows: Sequence[SheetRow], path: Path, *, title: str) -> None:
    """Write a picture, a row an image: the image with both crops outlined, and both views."""
    figure = Figure(figsize=(8.4, 2.95 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        _image(axes[0], row.pixels, row.title)
        for place, view, colour in zip(axes[1:], row.views, _COLOURS, strict=True):
            corner = (view.left_px - 0.5, view.top_px - 0.5)
            outline = Rectangle(
                corner, view.width_px, view.height_px, fill=False, edgecolor=colour, linewidth=2
            )
            axes[0].add_patch(outline)
            _image(place, view.pixels, view.caption)
            place.spines[:].set(visible=True, color=colour, linewidth=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _image(axes: Axes, pixels: Pixels, title: str) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=8)
