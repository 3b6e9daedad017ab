"""Faults of the system that a user can mend, whatever library met them: what they are, in words."""

import errno
import os
import re

# Libraries written in Rust or C++ tell the system's number in their text alone, if at all.
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "a limit on files (ulimit -f) is reached",
    errno.EROFS: "the file system is read-only",
}
# Not OSErrors, and yet of the disk: safetensors' and what pyarrow raises beside them.
_WRITERS = ("SafetensorError", "ArrowException", "ArrowIOError")


def told(error: BaseException) -> str | None:
    """Return the text for a disk that is full or can't be written, None for any other fault."""
    number = _number_of(error)
    if number is None or number not in (*_FULL, *_CLOSED, *_NO_FOLDER):
        return None
    what = _WORDS.get(number) or os.strerror(number)
    place = getattr(error, "filename", None) or error
    if number in _FULL:
        return (
            f"{what} ({place}). What was finished is whole. "
            "Free some room and call the same command again (a run with --resume): it goes on."
        )
    if number in _CLOSED:
        return (
            f"{what} ({place}). Name another folder or file, or change who may read and write "
            "there, and call the same command again."
        )
    return f"{what} ({place}). Name another folder or file."


def _number_of(error: BaseException) -> int | None:
    """Return the system's number of a fault, from its text where a library says it only there."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    kinds = {kind.__name__ for kind in type(error).__mro__}
    match = _NUMBER.search(str(error))
    if match is None or not (isinstance(error, OSError) or kinds & set(_WRITERS)):
        return None
    return int(match[1] or match[2])
