"""The report as one HTML file that loads nothing else. With `core.markdown` the door to jinja2.

The page is `report.html.j2`, its sections, style and script lie beside it in `page/`.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cxrssl.core.printable import printable_content, printable_lines


def render_report(content: Mapping[str, Any]) -> str:
    """Fill `report.html.j2`; text is escaped, and only figures are taken as they are.

    Args:
        content: Every name that the templates use, those of tests/page_content.py: numbers may be
            None, which is a dash, and a section that is None or without rows is left out. While
            `progress` says that the plan runs, the page loads itself again every 20 seconds.

    Raises:
        jinja2.UndefinedError: If the template names something that `content` lacks.
    """
    environment = Environment(
        loader=PackageLoader("cxrssl", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "p_value": _p_value,
        "by_labels": _by_labels,
        "boxes_of": _boxes_of,
    }
    environment.globals |= {"side_of_zero": _side_of_zero, "inlined": _inlined}
    return environment.get_template("report.html.j2").render(**content)


def _printable(value: object) -> object:
    """Return text from files as it may be shown; figures, marked as safe, stay as they are."""
    return printable_lines(value) if type(value) is str else value


def _number(value: float | None) -> str:
    """Return three digits after the point, or a dash for what can't be computed."""
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{value:+z.3f}"


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _side_of_zero(low: float | None, high: float | None) -> str:
    """Return on which side of zero an interval lies, or nothing if it holds zero or is missing."""
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "above" if low > 0 else "below"


def _by_labels(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return rows in groups of neighbours with the same label fraction."""
    return [list(group) for _, group in groupby(rows, itemgetter("labels"))]


def _inlined(name: str) -> str:
    """Return a file of `page/` as it is; a brace in it means nothing to the template."""
    return (files("cxrssl.report") / "page" / name).read_text(encoding="utf-8")


def _boxes_of(gallery: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the script draws: all of the gallery but the pictures, which are in the page."""
    keys = ("width", "height", "truth", "readers", "found")
    return {
        "classes": printable_content(gallery["classes"]),
        "images": [{key: image[key] for key in keys} for image in gallery["images"]],
    }
