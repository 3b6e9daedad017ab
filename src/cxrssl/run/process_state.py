"""A library call in the caller's process: it runs as a command does, and changes nothing for good.

`cxrssl` commands own their process and may set what they like. A notebook goes on after the call.
What the C library does with freed memory can't be put back, so calls leave it alone (see
`run.memory`); everything else that training and detection set is put back here.
"""

import os
import resource
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch

from cxrssl.core.images import opencv_threads_restored
from cxrssl.core.processes import (
    check_not_imported_by_worker,
    random_state_restored,
    start_method_restored,
)
from cxrssl.run.processes import accelerate_restored

# What a call sets holds for all threads.
_one_thread_at_a_time = threading.RLock()
# Settings that results depend on, with their initial values.
_CUDNN_SETTINGS = (("enabled", True), ("benchmark", False), ("deterministic", False))


@contextmanager
def process_restored() -> Iterator[None]:
    """Run a block, or the function that it decorates, and put the process back as it was.

    Inside, torch has the settings that it starts with (but the caller's number of threads), so that
    results are those of the command line. Restored at the end: random states, torch's settings and
    number of threads, accelerate's state and process group, OpenCV's threads, the environment, and
    the limit of open files. After an error the frames of the call are cleared: a notebook keeps
    the traceback of the last error, and with it the model and the lock of the run folder.
    A call from another thread waits until this one has ended.

    Raises:
        RunError: If a worker process called it while it imported the caller's script.
    """
    check_not_imported_by_worker()
    with _one_thread_at_a_time, ExitStack() as stack:
        stack.enter_context(random_state_restored())
        stack.enter_context(start_method_restored())
        stack.enter_context(opencv_threads_restored())
        stack.enter_context(accelerate_restored())
        stack.enter_context(_torch_restored())
        stack.callback(_restore_environment, dict(os.environ))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        try:
            yield
        except BaseException as error:
            _clear_frames(error)
            raise


@contextmanager
def _torch_restored() -> Iterator[None]:
    """Give torch the settings that it starts with, and put the caller's back."""
    cudnn = torch.backends.cudnn
    with ExitStack() as stack:
        _restore_devices(stack)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
        torch.set_deterministic_debug_mode("default")
        for name, start in _CUDNN_SETTINGS:
            stack.callback(setattr, cudnn, name, getattr(cudnn, name))
            setattr(cudnn, name, start)
        # torch refuses to tell it where backends were set one by one: then it is the caller's.
        with suppress(RuntimeError):
            precision = torch.get_float32_matmul_precision()
            if precision != "highest":  # to set it would change the settings of single backends
                stack.callback(torch.set_float32_matmul_precision, precision)
                torch.set_float32_matmul_precision("highest")
        yield


def _restore_devices(stack: ExitStack) -> None:
    """Restore the random states of all devices, and the current device, when the stack closes."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    # Devices that are listed are not warned of for being many; with none it is the CPU's alone.
    if kind is None:
        stack.enter_context(torch.random.fork_rng(()))
    elif kind.type == "mps":
        stack.enter_context(torch.random.fork_rng((), device_type="mps"))
        stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
    else:
        devices = range(torch.accelerator.device_count())
        stack.callback(torch.accelerator.set_device_index, torch.accelerator.current_device_index())
        stack.enter_context(torch.random.fork_rng(devices, device_type=kind.type))


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _clear_frames(error: BaseException) -> None:
    """Delete the local variables in the frames of an error and of its causes."""
    cleared_ids: set[int] = set()
    causes: list[BaseException | None] = [error]
    while causes:
        cause = causes.pop()
        if cause is not None and id(cause) not in cleared_ids:
            cleared_ids.add(id(cause))
            traceback.clear_frames(cause.__traceback__)
            causes += [cause.__cause__, cause.__context__]
