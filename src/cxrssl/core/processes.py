"""The cores there are, and worker processes: they end with their parent, and start no work."""

import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, current_process, parent_process
from threading import Thread

from cxrssl.core.errors import RunError


def available_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Put Python's random state back: some libraries draw from it as they are imported."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def start_method_restored() -> Iterator[None]:
    """Let the caller choose how processes are started after the block, as it could before.

    The first worker settles multiprocessing's default, which then can't be set any more.
    """
    is_open = multiprocessing.get_start_method(allow_none=True) is None
    try:
        yield
    finally:
        if is_open:
            multiprocessing.set_start_method(None, force=True)


def check_not_imported_by_worker() -> None:
    """Stop work that a worker process would begin anew as it imports the script it comes from.

    Raises:
        RunError: If this process is such a worker.
    """
    if getattr(current_process(), "_inheriting", False):
        raise RunError(
            "a worker process imports this script and would do all of its work again. Put the "
            'calls of cxrssl below `if __name__ == "__main__":`.'
        )


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back for a moment, such as while workers are started.

    Broken off in the middle of it, a worker would be left that nobody knows of. Those that are
    started inherit it, and leave Ctrl-C to their parent.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
