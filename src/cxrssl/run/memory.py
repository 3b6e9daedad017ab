"""Memory: what is kept for the next step, and how it is known to have run out."""

import ctypes
import os
import sys

import torch

# Names and numbers of glibc's malloc.h and Linux's mman.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MADV_HUGEPAGE = -1, -4, 14
_LARGEST, _HUGE_PAGE = 2**31 - 1, 2**21


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of giving it back to the kernel.

    A training step frees and asks for the same large buffers over and over. By default glibc maps
    each anew, and the kernel clears it page by page, which takes a third of a step on a CPU. Kept
    memory has holes, so the peak is a fifth higher.

    The heap is also stretched over half of the machine's memory and let go again: that takes
    addresses, not memory, and lets the kernel back it with pages of 2 MiB where it has them.

    Returns:
        Whether this machine's C library can be told so; others are left as they are.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None or not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _LARGEST)):
        return False
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    block = library.malloc(size)
    if block:  # where addresses are limited, there is none, and small pages have to do
        start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        library.madvise(start, (block + size - start) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
        library.free(block)
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch says that memory, a GPU's or the machine's, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
