"""One command at a time in a folder, for as long as it or anything it began is alive."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrssl.core.errors import RunError


@contextmanager
def sole_user(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold a folder; whoever comes second waits.

    Args:
        folder: It must exist.
        on_wait: Called once if someone else holds it, before waiting.

    Yields:
        A file descriptor. Child processes that inherit it keep the folder held when this process
        is killed and they live on.

    Raises:
        RunError: If the file system has no locks.
    """
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise RunError(
                f"{folder} can't be locked ({error.strerror}). Take one on another file system."
            ) from error
        yield file.fileno()
