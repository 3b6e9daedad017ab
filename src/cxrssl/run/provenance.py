"""What a run was made with: enough to make it again, nothing about a person or a host."""

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

_PACKAGES = ("cxrssl", "torch", "torchvision", "timm", "accelerate", "datasets", "pydicom", "numpy")


def provenance(accelerator: Accelerator, *, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record for `provenance.json`.

    Args:
        accelerator: Of the run.
        data: What `data.terms.data_record` says of its images.
    """
    return {
        "git": _git(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "device": str(accelerator.device),
        "num_processes": accelerator.num_processes,
        "num_threads": torch.get_num_threads(),
        **data,
    }


def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout the code runs from, None outside of one."""
    here = Path(__file__).resolve().parent
    try:
        sha = _output(["git", "rev-parse", "HEAD"], here)
        return {"sha": sha, "dirty": bool(_output(["git", "status", "--porcelain"], here))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()
