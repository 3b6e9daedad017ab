"""What a plan costs, as a table on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from cxrssl.core.duration import duration


@dataclass(frozen=True)
class CostRow:
    """One job: its name, what it does, whether it is done, and its seconds if they are known."""

    name: str
    what: str
    is_done: bool
    seconds: float | None


def print_cost_table(title: str, rows: Sequence[CostRow], footer: str) -> None:
    """Print a line a job, then the footer."""
    console = Console(highlight=False)
    table = Table(title=title)
    table.add_column("job")
    table.add_column("what")
    table.add_column("about", justify="right")
    for row in rows:
        cost = "" if row.seconds is None else duration(row.seconds)
        table.add_row(row.name, row.what, "done" if row.is_done else cost)
    console.print(table)
    console.print(footer, markup=False, soft_wrap=True)
