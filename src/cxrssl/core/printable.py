"""Text of others as it may be shown: on a terminal, in a report, a drawing or a card."""

import re
from collections.abc import Mapping
from typing import Any

# Controls (C0, DEL, C1), marks that change the direction of what follows, line separators, lone
# surrogates and what is no character: terminals obey the first, XML allows none of most.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
# How a cell of a CSV begins that a spreadsheet takes for a formula; the last four are full-width.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def printable(text: str) -> str:
    """Return a text on one line, its control characters as escapes: ESC is a backslash and x1b."""
    return _UNSHOWN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each as `printable` has it."""
    return "\n".join(map(printable, text.split("\n")))


def printable_content(content: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return what JSON can hold with every text in it, keys among them, as it may be shown."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, Mapping):
        return {printable_content(key): printable_content(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [printable_content(value) for value in content]
    return content


def plain_cell(text: str) -> str:
    """Return text for a CSV: what a spreadsheet would run as a formula gets an apostrophe.

    Not for numbers, which may be negative. Source: OWASP, "CSV injection".
    """
    return f"'{text}" if _FORMULA.match(text) else text


def valid_text(text: str) -> str:
    """Return text that every program reads: lone surrogates, as in file names, become escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode()
