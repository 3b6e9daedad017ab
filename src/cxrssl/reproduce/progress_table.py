"""The progress of a plan: on a terminal a table that updates, elsewhere a line a minute."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from cxrssl.core.duration import duration
from cxrssl.core.printable import printable

_QUIET_S = 60.0


@dataclass(frozen=True)
class Row:
    """A running job: its name, what it is doing, and the fraction that is done, None if unknown."""

    name: str
    note: str
    share: float | None


class ProgressTable:
    """The jobs at work and how much is done, on a console."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live
        self._said = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def show(self, rows: Sequence[Row], *, done: int, total: int, left: float | None) -> None:
        """Show the jobs at work and the time left in seconds, None if unknown."""
        rest = "" if left is None else f", about {duration(left)} left"
        if self._live is not None:
            table = Table.grid(padding=(0, 1))
            table.add_row(f"{done} of {total} jobs done{rest}")
            for row in rows:
                bar = ProgressBar(total=1.0, completed=row.share or 0.0, width=24)
                table.add_row(f"  {row.name}", bar, row.note)
            self._live.update(table)
            return
        if time.monotonic() - self._said < _QUIET_S:
            return
        self._said = time.monotonic()
        work = "; ".join(f"{row.name} {row.note}" for row in rows) or "none yet, all wait"
        self.say(f"[{done}/{total}] at work: {work}{rest}")


@contextmanager
def open_progress_table() -> Iterator[ProgressTable]:
    """Yield the progress table of this process, on stdout."""
    console = Console()
    if not console.is_terminal:
        yield ProgressTable(console, None)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield ProgressTable(console, live)
