"""Which device a process works on; a GPU that is there and can't be used is never passed over."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cxrssl.core.errors import RunError
from cxrssl.core.printable import printable

_DRIVER = Path("/proc/driver/nvidia/version")
_CPU_INSTEAD = "To work on the CPU all the same, set CUDA_VISIBLE_DEVICES= (empty)."
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")


def has_accelerator() -> bool:
    """Return whether torch has a GPU or another accelerator here; without one it is the CPU.

    The driver's own list of GPUs is asked as well: it works where torch itself does not. A user
    who hides the GPUs (CUDA_VISIBLE_DEVICES empty or -1) wants the CPU.

    Raises:
        RunError: If there are GPUs, or some are asked for, and torch can use none of them.
    """
    if torch.accelerator.is_available():
        return True
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not gpu_names(os.environ, num_gpus=1):
        return False
    num_gpus = torch.cuda.device_count()
    if num_gpus:
        raise RunError(
            f"this machine has {num_gpus} {'GPU' if num_gpus == 1 else 'GPUs'} that torch can't "
            f"use: {_reason()} torch {torch.__version__} is built for {_platform()}{_driver()}. "
            "Update the driver, or install the torch that fits it (https://pytorch.org). "
            f"{_CPU_INSTEAD}"
        )
    if visible:
        raise RunError(
            f"CUDA_VISIBLE_DEVICES names {printable(visible)}, and torch sees no such GPU: "
            f"{_reason()} Expected numbers from `nvidia-smi -L`, or names. {_CPU_INSTEAD}"
        )
    return False


def num_usable_gpus() -> int:
    """Return how many CUDA GPUs torch can use.

    Raises:
        RunError: If there are some and it can use none of them.
    """
    return torch.cuda.device_count() if has_accelerator() else 0


def device_of_one_process() -> torch.device:
    """Return the device of work that is not shared out: a CUDA GPU, or else the CPU.

    Raises:
        RunError: If there is a GPU that torch can't use.
    """
    if not num_usable_gpus():
        return torch.device("cpu")
    check_architecture()
    return torch.device("cuda")


def check_architecture() -> None:
    """Check that torch holds code for this process's GPU, which it finds out at the first use.

    Raises:
        RunError: If the GPU is of a generation that this torch was not built for.
    """
    if not torch.cuda.is_available():
        return
    capability, built_for = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if runs_on(capability, built_for):
        return
    raise RunError(
        f"this GPU, {torch.cuda.get_device_name()}, is of compute capability "
        f"{capability[0]}.{capability[1]}, and torch {torch.__version__} holds code for "
        f"{', '.join(built_for)} alone. Install a torch for it (https://pytorch.org). "
        f"{_CPU_INSTEAD}"
    )


def runs_on(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Return whether code for some of NVIDIA's architectures runs on a GPU of a capability.

    Machine code (sm_XY) runs on its generation from Y on, with the suffix `a` on XY alone; an
    intermediate one (compute_XY) is compiled for all that is newer. Names of other makers are taken
    to fit.
    """
    matches = [_ARCHITECTURE.fullmatch(name) for name in built_for]
    for match in matches:
        if match is None:
            return True
        built, exact = (int(match[2]), int(match[3])), match[4] == "a"
        is_newer = built <= capability
        same_generation = built[0] == capability[0]
        if exact:
            fits = built == capability
        else:
            fits = is_newer and (same_generation or match[1] == "compute")
        if fits:
            return True
    return not matches


def gpu_names(environment: Mapping[str, str], *, num_gpus: int) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES is to be for one process on each GPU that was granted.

    CUDA reads the list up to the first entry that it doesn't know or that is negative. Of slices of
    GPUs (MIG) it shows a process one alone, so that `num_gpus` is 1 whatever their number is.

    Args:
        environment: Environment variables of this process.
        num_gpus: Number of GPUs that CUDA shows this process.
    """
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return [str(number) for number in range(num_gpus)]
    names = list[str]()
    for name in (part.strip() for part in environment["CUDA_VISIBLE_DEVICES"].split(",")):
        if not name or name.startswith("-") or name in names:
            break
        names.append(name)
    if all(name.startswith("MIG-") for name in names):
        return names
    return names[:num_gpus]


def _reason() -> str:
    """Return what CUDA itself says, as one sentence."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return first.split(" Please ")[0].rstrip(".") + "."
    return "it gives no reason."


def _platform() -> str:
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    return "CPUs alone" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"


def _driver() -> str:
    """Return the NVIDIA driver's version as the end of a sentence, empty where it is not known."""
    try:
        version = re.search(r"\b\d{3}\.[\d.]+\b", _DRIVER.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return "" if version is None else f", and the driver is {version[0]}"
