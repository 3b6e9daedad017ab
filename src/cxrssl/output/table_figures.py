"""Figures of an annotation table as PNG and SVG: class balance, boxes before and after fusion."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from cxrssl.core.files import replacing
from cxrssl.output import figure_balance, figure_readings
from cxrssl.output.figure_readings import Readings

__all__ = ["Readings", "write_class_balance", "write_readings"]

_WIDTH_IN = 7.0


def write_class_balance(
    stem: Path, names: Sequence[str], *, before: Sequence[float], after: Sequence[float]
) -> list[Path]:
    """Write bars of images by class, before and after oversampling, and return the files.

    Args:
        stem: Path of the files without their endings.
        names: Classes.
        before: Training images that hold each.
        after: Visits to such images in an epoch.

    Source: the paper, figure 3.
    """
    figure = figure_balance.balance_figure(names, before=before, after=after, width_in=_WIDTH_IN)
    return _written(figure, stem, figure_balance.TITLE)


def write_readings(stem: Path, examples: Sequence[Readings]) -> list[Path]:
    """Write boxes before (left) and after (right) fusion, and return the files.

    Args:
        stem: Path of the files without their endings.
        examples: A row each, at least one.

    Source: the paper, figure 1; readers' colours and support are ours.
    """
    return _written(figure_readings.readings_figure(examples), stem, figure_readings.TITLE)


def _written(figure: Figure, stem: Path, title: str) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{form}") for form in ("png", "svg")]
    # Text stays text, and nothing in the files depends on the day they were drawn.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cxrssl", "font.size": 9}):
        for path, metadata in zip(
            paths, ({"Software": None, "Title": title}, {"Date": None, "Title": title}), strict=True
        ):
            with replacing(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=metadata)
    return paths
