"""The progress of a plan: on a terminal a table that updates, elsewhere a line a minute."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from cxrssl.core.duration import duration
from cxrssl.core.printable import printable
from cxrssl.reproduce.status import Progress

_QUIET_S = 60.0


class ProgressTable:
    """The running jobs and how much is done, on a console."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console, self._live = console, live
        self._printed_at = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    def show(
        self, running: Sequence[Progress], *, done: int, total: int, seconds_left: float | None
    ) -> None:
        """Show the running jobs, how many are done, and the time left, None if unknown."""
        time_text = "" if seconds_left is None else f", about {duration(seconds_left)} left"
        if self._live is not None:
            table = Table.grid(padding=(0, 1))
            table.add_row(f"{done} of {total} jobs done{time_text}")
            for progress in running:
                bar = ProgressBar(total=1.0, completed=progress.fraction or 0.0, width=24)
                table.add_row(f"  {progress.job.name}", bar, progress.note)
            self._live.update(table)
            return
        if time.monotonic() - self._printed_at < _QUIET_S:
            return
        self._printed_at = time.monotonic()
        notes = [f"{progress.job.name} {progress.note}" for progress in running]
        work = "; ".join(notes) or "none yet, all wait"
        self.say(f"[{done}/{total}] at work: {work}{time_text}")


@contextmanager
def open_progress_table() -> Iterator[ProgressTable]:
    """Yield the progress table of this process, on stdout."""
    console = Console()
    if not console.is_terminal:
        yield ProgressTable(console, None)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield ProgressTable(console, live)
