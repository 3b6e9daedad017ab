"""Memory: what is kept for the next step, and how it is known to have run out."""

import ctypes
import sys

import torch
from torch import nn

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


def training_layout(device: torch.device) -> torch.memory_format:
    """Return how a large convolutional network's tensors should lie while it is trained.

    channels_last is right for GPUs and for CPUs with AVX-512. With AVX2 alone a training step of a
    detector with a ResNet-50 at 512 px took 11.3 s in it, and 7.6 s without: oneDNN's gradients of
    3x3 weights are many times slower there.
    """
    if device.type == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return torch.contiguous_format
    return torch.channels_last


def place_gradients(model: nn.Module) -> None:
    """Give gradients their place before activations have theirs: less of the heap is holes."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch says that memory, a GPU's or the machine's, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
