"""Cards for the Hub: the Markdown templates of `hub/`, filled. A door to jinja2."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxrssl.core.packaged import packaged_folder
from cxrssl.core.printable import printable, printable_lines

_MARKDOWN = re.compile(r"([\\|*_`<>\[\]])")


def render_card(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of `hub/`.

    Args:
        template: Name without suffix, such as `card_detector`.
        content: Every name that it uses. What people or files named goes through `plain` there.

    Raises:
        jinja2.UndefinedError: If the template names something that `content` lacks.
    """
    environment = Environment(
        loader=FileSystemLoader(packaged_folder("hub")),
        autoescape=False,  # it is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["number"] = _number
    environment.filters["interval"] = _interval
    text = environment.get_template(f"{template}.md").render(**content)
    return printable_lines(re.sub(r"\n{3,}", "\n\n", text).rstrip()) + "\n"


def plain(text: str) -> str:
    """Return a text with nothing in it that Markdown would take for a sign."""
    return _MARKDOWN.sub(r"\\\1", printable(" ".join(text.split())))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(entry: Mapping[str, Any]) -> str:
    """Return the ends of an entry's interval, or a dash for one that can't be computed."""
    low, high = entry.get("low"), entry.get("high")
    exact = f" (exact bound on {entry['exact_on']})" if "exact_on" in entry else ""
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}{exact}"
