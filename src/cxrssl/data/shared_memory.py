"""The shared memory through which loading workers hand over batches: whether there is enough."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrssl.core.errors import RunError

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2
"""Batches that torch's DataLoader has each worker keep ready."""
_SIGNS = ("bus error", "shared memory", "/torch_", "received 0 items of ancdata")
_ADVICE = (
    "Set data.num_workers lower (0 needs none), or give more room: docker run --shm-size=4g, and "
    "for Kubernetes a memory-backed volume at /dev/shm."
)


class SharedMemoryWarning(UserWarning):
    """Shared memory that may not be enough for what is kept ready in it."""


def check_shared_memory(batch_bytes: int, *, num_workers: int) -> None:
    """Check that there is room for the batches that workers hand over.

    Docker gives a container 64 MB, and a worker that finds no room is killed without a word.

    Args:
        batch_bytes: Bytes of one batch.
        num_workers: Workers of this process; each process of a launch here has as many.

    Raises:
        RunError: If not even one batch of each worker fits.

    Warns:
        SharedMemoryWarning: If the batches that are kept ready don't all fit.
    """
    if num_workers == 0 or not SHARED_MEMORY.is_dir():
        return
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    free = shutil.disk_usage(SHARED_MEMORY).free
    needed_bytes = batch_bytes * num_workers * processes
    if needed_bytes <= free and needed_bytes * PREFETCHED <= free:
        return
    workers = f"{num_workers * processes} workers that hand over batches of {_mb(batch_bytes)}"
    has = f"{SHARED_MEMORY} has {_mb(free)} left, and {workers} fill"
    if needed_bytes > free:
        raise RunError(f"{has} at least {_mb(needed_bytes)} of it. {_ADVICE}")
    text = f"{has} up to {_mb(needed_bytes * PREFETCHED)} of it: a worker may be killed. {_ADVICE}"
    warnings.warn(text, SharedMemoryWarning, stacklevel=2)


@contextmanager
def shared_memory_faults() -> Iterator[None]:
    """Turn what torch says of workers without room inside the block into advice.

    Raises:
        RunError: If shared memory, or the number of open files, was used up.
    """
    try:
        yield
    except RuntimeError as error:
        # Of a worker that was killed, the reason is in what its error comes from.
        texts = [str(error), str(error.__cause__ or "")]
        message = next((text for text in texts if any(s in text.lower() for s in _SIGNS)), None)
        if message is None:
            raise
        raise RunError(
            "a worker that loads images had no room to hand them over "
            f"({message.splitlines()[0]}). {_ADVICE} If it says ancdata, allow more open files: "
            "ulimit -n 65536."
        ) from error


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
