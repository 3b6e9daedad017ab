"""The cores there are, and worker processes that do not outlive their parent."""

import os
from multiprocessing import connection, parent_process
from threading import Thread


def available_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """End this worker when its parent is killed: it would wait for work for ever.

    In a process that nobody began through multiprocessing it does nothing.
    """
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
