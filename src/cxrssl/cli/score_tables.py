"""Parts of the tables of scores: cells with intervals, and tables at their full width."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 10_000


def print_table(console: Console, table: Table) -> None:
    """Print a table at its full width, so that nothing is cut off on a narrow terminal."""
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def table_of(title: str, first: str, *names: str) -> Table:
    """Return a table with a first column of names, and columns of numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def cells(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return a value and its interval."""
    return number(entry["value"]), interval_text(entry)


def difference_cells(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what a value is compared with, the difference, its interval, and its p-value."""
    signed = "-" if entry["delta"] is None else f"{entry['delta']:+.3f}"
    p = "-" if entry["p"] is None else f"{entry['p']:.3f}"
    return number(entry.get("other")), signed, interval_text(entry, signed=True), p


def interval_text(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return an interval; of an exact one that has one side, that side."""
    if entry["low"] is None:
        return "all draws agree" if signed and "reason" in entry else ""
    if "exact_on" in entry:
        low, high, value = entry["low"], entry["high"], entry["value"]
        ends = f"[{low:.3f}, {high:.3f}]"
        if value in (low, high):
            ends = f">= {low:.3f}" if value == high else f"<= {high:.3f}"
        return f"{ends}, exact bound on {entry['exact_on']}"
    if has_no_width(entry):
        return "no width"
    form = "+.3f" if signed else ".3f"
    return f"[{entry['low']:{form}}, {entry['high']:{form}}]"


def has_no_width(entry: Mapping[str, Any]) -> bool:
    """Return whether an interval has no width, for which the entry states the reason."""
    return entry["low"] is not None and "reason" in entry


def number(value: float | None) -> str:
    """Return three digits after the point, or a dash for what can't be computed."""
    return "-" if value is None else f"{value:.3f}"
