"""Error texts for full disks and files that can't be written, whichever library met them."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrssl.core.errors import CxrsslError, RunError

# Libraries written in Rust or C++ have the system's error number only in their text, if at all.
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_NOT_A_FOLDER = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "a limit on files (ulimit -f) is reached",
    errno.EROFS: "the file system is read-only",
}
# Errors of the disk that are not OSErrors: those of safetensors, and some of pyarrow.
_WRITERS = ("SafetensorError", "ArrowException", "ArrowIOError")


def disk_fault_text(error: BaseException) -> str | None:
    """Return the text for a full disk or a path that can't be used, None for other errors."""
    number = _system_error_number(error)
    if number is None or number not in (*_DISK_FULL, *_NOT_WRITABLE, *_NOT_A_FOLDER):
        return None
    reason = _REASONS.get(number) or os.strerror(number)
    path = getattr(error, "filename", None) or error
    if number in _DISK_FULL:
        return (
            f"{reason} ({path}). What was finished is whole. "
            "Free some room and call the same command again (a run with --resume): it goes on."
        )
    if number in _NOT_WRITABLE:
        return (
            f"{reason} ({path}). Name another folder or file, or change who may read and write "
            "there, and call the same command again."
        )
    return f"{reason} ({path}). Name another folder or file."


@contextmanager
def disk_faults() -> Iterator[None]:
    """Raise those errors of a block, or of the function that it decorates, as a RunError.

    Raises:
        RunError: For a full disk, a path that can't be used, or a current folder that is gone.
    """
    check_current_folder()
    try:
        yield
    except CxrsslError:
        raise
    except Exception as error:
        text = disk_fault_text(error)
        if text is None:
            raise
        raise RunError(text) from error


def check_current_folder() -> None:
    """Check that the current folder is there: libraries and worker processes ask for its path.

    Raises:
        RunError: If somebody has deleted it.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise RunError(
            "the current folder has been deleted. Change to another one and call again."
        ) from error


def _system_error_number(error: BaseException) -> int | None:
    """Return the system's number of an error, from its text if it is only there."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    kinds = {kind.__name__ for kind in type(error).__mro__}
    match = _NUMBER.search(str(error))
    if match is None or not (isinstance(error, OSError) or kinds & set(_WRITERS)):
        return None
    return int(match[1] or match[2])
