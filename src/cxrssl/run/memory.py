"""Memory: what is kept for the next step, and how it is known to have run out."""

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of giving it back to the kernel.

    A training step frees and asks for the same large buffers over and over; by default glibc maps
    each anew, and the kernel clears every page of it: a fifth of a step on a CPU. What a process
    holds at its peak stays the same.

    Returns:
        Whether this machine's C library can be told so; others are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch says that memory, a GPU's or the machine's, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
