"""Figures of an annotation table as PNG and SVG: class balance, boxes before and after fusion."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from cxrssl.core.files import replacing, write_text
from cxrssl.core.printable import printable
from cxrssl.drawing import balance as figure_balance
from cxrssl.drawing import readings as figure_readings
from cxrssl.drawing.readings import Readings
from cxrssl.drawing.svg import drawn_svg

__all__ = ["Readings", "write_class_balance", "write_readings"]

_WIDTH_IN = 7.0
# A name with two dollar signs is a name, not a formula.
_NO_FORMULAS: dict[str, Any] = {"text.parse_math": False}
# Text stays text, and nothing in the files depends on the day they were drawn.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrssl",
    "font.size": 9,
    **_NO_FORMULAS,
}


def write_class_balance(
    stem: Path, names: Sequence[str], *, before: Sequence[float], after: Sequence[float]
) -> list[Path]:
    """Write bars of images by class, before and after oversampling, and return the files.

    Args:
        stem: Path of the files without their endings.
        names: Names of the classes.
        before: Training images that hold each class.
        after: Visits to such images in an epoch.

    Source: the paper, figure 3.
    """
    shown = [printable(name) for name in names]
    with style.context(_NO_FORMULAS):
        figure = figure_balance.balance_figure(
            shown, before=before, after=after, width_in=_WIDTH_IN
        )
    return _written(figure, stem, figure_balance.TITLE)


def write_readings(stem: Path, examples: Sequence[Readings]) -> list[Path]:
    """Write boxes before (left) and after (right) fusion, and return the files.

    Args:
        stem: Path of the files without their endings.
        examples: Examples, one below another.

    Source: the paper, figure 1.
    """
    shown = [
        replace(
            example,
            readers=[printable(name) for name in example.readers],
            names=[printable(name) for name in example.names],
        )
        for example in examples
    ]
    with style.context(_NO_FORMULAS):
        figure = figure_readings.readings_figure(shown)
    return _written(figure, stem, figure_readings.TITLE)


def _written(figure: Figure, stem: Path, title: str) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = (stem.with_name(f"{stem.name}.{form}") for form in ("png", "svg"))
    with style.context(_STYLE):
        with replacing(png) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(
                temporary, format="png", dpi=200, metadata={"Software": None, "Title": title}
            )
        write_text(svg, drawn_svg(figure, dpi=150, metadata={"Date": None, "Title": title}))
    return [png, svg]
