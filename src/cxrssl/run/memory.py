"""Memory: reuse of freed buffers, memory formats, and detection of exhausted memory."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cxrssl.core.errors import TrainingError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1
# Messages on exhausted memory of CPU and GPU allocators, C++, CUDA, cuBLAS, cuDNN and NCCL, which
# have no exception class for it; compared in lower case.
_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    "cudnn_status_internal_error_device_allocation_failed",
)
# These come of a full GPU as well as of a fault: they count where little of its memory is free.
_AMBIGUOUS_PHRASES = (
    "cublas_status_not_initialized",
    "cudnn_status_not_initialized",
    "cusolver_status_not_initialized",
    "cusparse_status_not_initialized",
    "cudnn_status_internal_error",
    "unable to find an engine",
    "no valid convolution algorithms available",
)
_LITTLE_MEMORY_BYTES = 2**30
MEMORY_ADVICE = (
    "Free some that other programs hold (nvidia-smi lists those of a GPU), or work on the CPU with "
    "CUDA_VISIBLE_DEVICES= (empty)."
)
"""Advice where a detector is only applied, to a few images at a time."""


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed instead of giving it back to the kernel.

    A training step frees and asks for the same large buffers over and over. By default glibc maps
    each anew, and the kernel clears it page by page, which takes a quarter of a step on a CPU. The
    price is a heap with holes: its peak is higher.

    Returns:
        Whether this machine's C library supports it.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def training_layout(device: torch.device) -> torch.memory_format:
    """Return the memory format in which a large convolutional network trains fastest.

    channels_last is right for GPUs and for CPUs with AVX-512. With AVX2 alone a training step of a
    detector with a ResNet-50 at 512 px took 11.3 s in it, and 7.6 s without: oneDNN's gradients of
    3x3 weights are many times slower there.
    """
    if device.type == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return torch.contiguous_format
    return torch.channels_last


def allocate_gradients(model: nn.Module) -> None:
    """Allocate gradients before activations, which fragments the heap less."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch means that GPU or main memory is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    if any(phrase in text for phrase in _PHRASES):
        return True
    return any(phrase in text for phrase in _AMBIGUOUS_PHRASES) and _gpu_is_full()


def _gpu_is_full() -> bool:
    """Return whether less of this process's GPU is free than libraries need to work."""
    if not torch.cuda.is_available():
        return False
    try:
        return bool(torch.cuda.mem_get_info()[0] < _LITTLE_MEMORY_BYTES)
    except RuntimeError:  # after a fault the GPU answers nothing more
        return False


@contextmanager
def memory_faults(advice: str) -> Iterator[None]:
    """Turn an exhausted memory inside the block, or the function that it decorates, into advice.

    Args:
        advice: What the user can do, as a sentence.

    Raises:
        TrainingError: If memory runs out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrainingError(f"memory ran out ({reason}). {advice}") from error
