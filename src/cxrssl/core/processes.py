"""The cores there are, and worker processes: they end with their parent, and start no work."""

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, current_process, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread, current_thread, main_thread

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
def defer_signals() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back for a moment, such as while workers are started.

    Broken off in the middle of it, a worker would be left that nobody knows of. Those that are
    started inherit the mask, and leave Ctrl-C to their parent.
    """
    # A mask is a thread's own, and a library's threads take the signal in this one's place.
    is_main = current_thread() is main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    held: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _frame: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for held_number in held:
            signal.raise_signal(held_number)


@contextmanager
def process_pool(
    num_workers: int, *, context: BaseContext, initializer: Callable[[], None]
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers; after an error or a signal they are killed, not waited for.

    Its thread is waited for, which ends as they have: else it would close what Python uses at its
    own end. Futures must not be cancelled, `Executor.map` does: it fails on those in Python 3.11.

    Raises:
        RunError: If workers could not import the script that this process runs.
    """
    _check_script_is_a_file()
    other_processes = set(multiprocessing.active_children())
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=initializer) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - other_processes:
                process.kill()
            raise


def _check_script_is_a_file() -> None:
    """Refuse to start workers of a script that came through a pipe: they import it from its file.

    Raises:
        RunError: If there is no such file.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and path is not None and not Path(path).is_file():
        raise RunError(
            f"this script is not a file ({path}), and worker processes import it from one. Write "
            'it to a file, its calls of cxrssl below `if __name__ == "__main__":`.'
        )


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
