"""The bytes of one file of others: a regular file, of a bounded size, or a fault that says why."""

import os
import stat
from pathlib import Path

from cxrssl.core.errors import DataError

# 150 megapixels of 16 bits are 300 MB; a larger file can not be a radiograph that is decoded here.
MAX_BYTES = 1 << 30


def file_content(path: Path, *, name: str) -> bytes:
    """Read a file whole.

    A named pipe, device or socket is never waited for.

    Args:
        path: Path of the file, or of a link to one.
        name: What messages call it.

    Raises:
        DataError: If it can't be read, is not a regular file, or has more than 1 GiB.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for someone to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(
                    f"{name}: not a regular file ({kind_of(status.st_mode)}). Name an image file."
                )
            if status.st_size > MAX_BYTES:
                raise DataError(
                    f"{name}: the file has {status.st_size >> 20} MiB; "
                    f"at most {MAX_BYTES >> 20} are read"
                )
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: not a readable file ({why})") from error


def kind_of(mode: int) -> str:
    """Return what a file of a mode is, in words."""
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
