"""Memory: what is kept for the next step, and how it is known to have run out."""

import ctypes
import sys

import torch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1
# How a CPU's allocator, C++, cuBLAS, cuDNN and Apple's GPUs say it, without a class of its own.
_SIGNS = (
    "can't allocate memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of giving it back to the kernel.

    A training step frees and asks for the same large buffers over and over. By default glibc maps
    each anew, and the kernel clears it page by page, which takes a quarter of a step on a CPU. The
    price is a heap with holes: its peak is higher.

    Returns:
        Whether this machine's C library can be told so; others are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch says that memory, a GPU's or the machine's, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
