"""Devices and processes, through accelerate; both training loops begin here."""

import os
import resource
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from accelerate import Accelerator as Accelerator
from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, broadcast, gather_object
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

from cxrssl.core.devices import check_architecture, has_accelerator
from cxrssl.core.errors import RunError
from cxrssl.run.memory import keep_freed_memory

_WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_TRUE = ("1", "true", "yes", "y", "on", "t")
Item = TypeVar("Item")
Precision = Literal["fp32", "bf16", "fp16"]
_SHARED_STATES = (PartialState, AcceleratorState, GradientState)


@dataclass
class _Group:
    """State of the process group of this launch.

    Attributes:
        is_callers: Whether the calling program made the group, and keeps it.
        was_left: Whether there was a group and it has ended.
    """

    is_callers: bool = False
    was_left: bool = False


_GROUP = _Group()


def prepare_command() -> None:
    """Set up a process of the command line, which trains or detects and then ends.

    The C library keeps freed memory from here on if the work is on the CPU. That can't be put back,
    so calls from someone else's program do without: see `run.process_state`.

    Raises:
        RunError: If there is a GPU that torch can't use.
    """
    if uses_cpu(os.environ):
        keep_freed_memory()


def start_accelerator(precision: Precision, *, batch_size: int) -> Accelerator:
    """Return the accelerator of this process, and warn if fewer processes run than expected.

    Precision, compilation and accumulation are always the recipe's, whatever accelerate's
    configuration on a machine says.

    Raises:
        RunError: If the global batch does not divide among the processes, the device does not
            support the precision, the processes of a launch are not connected, or there is a GPU
            that torch can't use.
    """
    allow_open_files()
    _check_group_not_left()
    if precision == "fp16" and not torch.cuda.is_available():
        raise RunError("precision fp16 needs a CUDA GPU, and there is none. Set precision=fp32.")
    accelerator = Accelerator(
        # Unless told so, accelerate lets each of torchrun's processes on CPUs run on its own.
        cpu=uses_cpu(os.environ),
        mixed_precision="no" if precision == "fp32" else precision,
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    check_process_count(os.environ, num_processes=accelerator.num_processes)
    check_divides("batch_size", batch_size, num_processes=accelerator.num_processes)
    if accelerator.device.type == "cuda":
        check_architecture()
    shortfall = missing_processes(
        os.environ, num_processes=accelerator.num_processes, num_gpus=torch.cuda.device_count()
    )
    if shortfall is not None and accelerator.is_main_process:
        warn(shortfall)
    return accelerator


def check_divides(name: str, batch_size: int, *, num_processes: int) -> None:
    """Check that every process gets as many images of a batch as the others.

    Args:
        name: The recipe's field, for the message.
        batch_size: Images in a global batch.
        num_processes: Number of processes that share it.

    Raises:
        RunError: If one would get fewer.
    """
    if batch_size % num_processes:
        raise RunError(
            f"{name} {batch_size} does not divide among {num_processes} processes. It counts "
            "images over all processes; choose a multiple."
        )


def start_processes() -> PartialState:
    """Return rank and device of this process among those that a launcher started.

    Raises:
        RunError: If the processes of a launch are not connected, or there is a GPU that torch
            can't use.
    """
    allow_open_files()
    _check_group_not_left()
    state = PartialState(cpu=uses_cpu(os.environ))
    check_process_count(os.environ, num_processes=state.num_processes)
    if state.device.type == "cuda":
        check_architecture()
    return state


def uses_cpu(environment: Mapping[str, str]) -> bool:
    """Return whether training and scoring run on the CPU.

    Raises:
        RunError: If there is a GPU that torch can't use, and the CPU was not asked for.
    """
    is_cpu_requested = environment.get("ACCELERATE_USE_CPU", "").lower() in _TRUE
    return is_cpu_requested or not has_accelerator()


def leave_process_group() -> None:
    """Disconnect the processes of a launch after their last collective call.

    All must call it, for they end at different times: a process that ends while still connected may
    abort, and its launcher then stops the others. They can't be joined again. A group that the
    caller's program made stays.
    """
    if torch.distributed.is_initialized():
        state = PartialState()
        state.wait_for_everyone()
        if not _GROUP.is_callers:
            _GROUP.was_left = True
            state.destroy_process_group()


def _check_group_not_left() -> None:
    """Refuse a second training or scoring of processes that torch can't connect again.

    Raises:
        RunError: If they have.
    """
    if _GROUP.was_left and not torch.distributed.is_initialized():
        raise RunError(
            "the processes of this launch have done one training or scoring together, and can't "
            "be joined for another. Start a launch for each; a program of your own that does "
            "several calls torch.distributed.init_process_group() before the first."
        )


@contextmanager
def accelerate_restored() -> Iterator[None]:
    """Give a library call accelerate's state afresh, and put the caller's back.

    A process group that the caller made is used and stays; one that the call made ends with it.
    """
    before = [dict(state._shared_state) for state in _SHARED_STATES]
    _GROUP.is_callers = torch.distributed.is_initialized()
    for state in _SHARED_STATES:
        state._shared_state.clear()
    try:
        yield
    finally:
        if torch.distributed.is_initialized() and not _GROUP.is_callers:
            _GROUP.was_left = True  # an error came before `leave`
            torch.distributed.destroy_process_group()
        _GROUP.is_callers = False
        for state, content in zip(_SHARED_STATES, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(content)


def allow_open_files() -> None:
    """Let this process open as many files as the system allows it to.

    Every tensor that a worker hands over is an open file until it is used, and by default 1,024 of
    them are allowed.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # where "no limit" can't be set
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def check_process_count(environment: Mapping[str, str], *, num_processes: int) -> None:
    """Stop a process that a launcher started with others and that is not connected to them.

    accelerate joins processes on CPUs and CUDA GPUs, and on other devices lets each run alone.

    Raises:
        RunError: If there are more processes than work together.
    """
    _check_slurm_step(environment)
    world = max(int(environment.get(name) or 1) for name in _WORLD_SIZES)
    if world > num_processes:
        raise RunError(
            f"a launcher started {world} processes, and {num_processes} works here: each would "
            "overwrite the others' run. Start one, or use torchrun on CPUs or CUDA GPUs."
        )


def _check_slurm_step(environment: Mapping[str, str]) -> None:
    """Stop one of several tasks that `srun` started without a launcher to connect them.

    Raises:
        RunError: If there are several, and this one is not connected to the others.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS") or 1)
    if tasks > 1 and not any(environment.get(name) for name in _WORLD_SIZES):
        raise RunError(
            f"srun started {tasks} tasks, and this one knows nothing of the others: each would "
            "do the whole work, and overwrite the others' files. Start one task a node "
            "(srun --ntasks-per-node=1) that runs `torchrun --nproc_per_node N -m cxrssl ...`, or "
            "one process with srun -n 1."
        )


def missing_processes(
    environment: Mapping[str, str], *, num_processes: int, num_gpus: int
) -> str | None:
    """Return a warning if fewer processes run than were requested, or than there are GPUs.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing; all it leaves
    is the address where the others would have met. `srun -n 2` without torchrun starts two that
    know nothing of each other.
    """
    num_tasks = int(environment.get("SLURM_NTASKS") or 1)
    is_alone_at_address = "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment
    if num_processes == 1 and is_alone_at_address and "ACCELERATE_MIXED_PRECISION" in environment:
        return (
            "accelerate was asked for several processes and started ONE: with --cpu it does. "
            "Use `torchrun --nproc_per_node N -m cxrssl ...`, or on GPUs "
            "`accelerate launch --multi_gpu --num_processes N -m cxrssl ...`."
        )
    if num_processes == 1 and num_tasks > 1 and "WORLD_SIZE" not in environment:
        return (
            f"Slurm was asked for {num_tasks} tasks and this one runs ALONE: it knows nothing of "
            "the others. Let one task start `torchrun --nproc_per_node N -m cxrssl ...`."
        )
    if num_processes < num_gpus:
        return (
            f"{num_processes} of {num_gpus} GPUs is used. For all of them: `accelerate launch "
            f"--multi_gpu --num_processes {num_gpus} -m cxrssl ...`."
        )
    return None


def warn(text: str) -> None:
    """Print a warning that can't be overlooked, on stderr."""
    line = f"[bold red]WARNING:[/] {escape(text)}"
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)


def warn_in_main_process(text: str) -> None:
    """Print a warning that every process finds, once."""
    if PartialState().is_main_process:
        warn(text)


def clip_gradients(accelerator: Accelerator, network: nn.Module, clip_norm: float | None) -> None:
    """Scale the gradient to a norm of at most `clip_norm`; None does nothing."""
    if clip_norm is not None:
        accelerator.clip_grad_norm_(network.parameters(), clip_norm)


def mean_over_processes(
    accelerator: Accelerator, losses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the losses of the global batch: the mean over processes of those of their parts.

    Every process must call it; no gradient passes.
    """
    local = {name: loss.detach() for name, loss in losses.items()}
    if accelerator.num_processes == 1:
        return local
    mean: dict[str, Tensor] = accelerator.reduce(local, reduction="mean")
    return mean


def broadcast_from_main(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with their values in the main process; every process must call it."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            tensor.copy_(broadcast(tensor.contiguous(), from_process=0))


def gather_round_robin(local_items: Sequence[Item], *, num_processes: int) -> list[Item]:
    """Gather items that were distributed round-robin over processes, restoring their order.

    Every process must call it, and gets all items.
    """
    if num_processes == 1:
        return list(local_items)
    items_of_processes: list[Sequence[Item]] = gather_object([list(local_items)])
    most = max(len(items) for items in items_of_processes)
    return [
        items[position]
        for position in range(most)
        for items in items_of_processes
        if position < len(items)
    ]
