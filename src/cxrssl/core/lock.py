"""One command at a time in a folder, or in a part of it, for as long as it is alive."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cxrssl.core.errors import RunError

LOCK_NAME = ".lock"


@contextmanager
def sole_user(folder: Path, *, on_wait: Callable[[], None]) -> Iterator[int]:
    """Hold a folder; a second process waits.

    Args:
        folder: It must exist.
        on_wait: Called once if someone else holds it, before waiting.

    Yields:
        A file descriptor. Child processes that inherit it keep the folder held when this process
        is killed and they live on.

    Raises:
        RunError: If the file system has no locks.
    """
    with (folder / "lock").open("ab") as file:
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


@contextmanager
def claimed(
    folder: Path, parts: Sequence[int], *, subject: str = "shards"
) -> Iterator[Callable[[], None]]:
    """Hold numbered parts of a folder, which other processes and machines may work in as well.

    Record locks hold a byte of `.lock` for every part; they end with the process, and not when a
    child does.

    Args:
        folder: It must exist.
        parts: Numbers >= 0.
        subject: What messages call the parts.

    Yields:
        A function that waits until this process alone may write what is common to all parts. Then
        it holds that too.

    Raises:
        RunError: If another process holds one of them, or the file system has no locks.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        for part in parts:
            _claim(descriptor, part, folder, subject)
        yield lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, 0)
    finally:
        os.close(descriptor)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold all parts of a folder that others claim by `claimed`; wait until all of them have ended.

    Raises:
        OSError: If the folder is gone, or the file system has no locks.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)  # to the end, wherever that comes to be
        yield
    finally:
        os.close(descriptor)


def hold(folder: Path) -> int | None:
    """Hold a folder for this process, and refuse if another one does.

    The hold is a record lock on `.lock`, which ends with the process, however that ends, and not
    when a worker of it does; this process may take it again.

    Args:
        folder: It must exist.

    Returns:
        A descriptor, which gives the folder back when it is closed; None where the file system has
        no locks, which is no reason not to work there.

    Raises:
        RunError: If another process holds it.
    """
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise RunError(
            f"another process works in {folder}. Wait until it has ended, or name another folder "
            "with --out. Processes that share one run are started by torchrun."
        ) from error
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _claim(descriptor: int, part: int, folder: Path, subject: str) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, part + 1)
    except (BlockingIOError, PermissionError) as error:
        raise RunError(
            f"another process works in {folder} on the same {subject}. Wait until it has ended."
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder} can't be locked ({error.strerror}). Take one on another file system."
        ) from error
