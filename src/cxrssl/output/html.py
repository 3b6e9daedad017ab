"""The report as one HTML file that asks for nothing else. The only door to jinja2."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_report(content: Mapping[str, Any]) -> str:
    """Fill `report.html.j2`; text is escaped, and only figures are taken as they are.

    Raises:
        jinja2.UndefinedError: If the template names something that `content` lacks.
    """
    environment = Environment(
        loader=PackageLoader("cxrssl", "output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    return environment.get_template("report.html.j2").render(**content)


def _number(value: float | None) -> str:
    """Return three digits after the point, or a dash for what can't be computed."""
    return "-" if value is None else f"{value:.3f}"
