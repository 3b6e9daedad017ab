"""What a run was made with: enough to make it again, nothing about a person or a host."""

import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cxrssl import __version__

_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "datasets", "pydicom", "numpy")


def provenance(accelerator: Accelerator, *, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record for `provenance.json`.

    Args:
        accelerator: Of the run.
        data: What `data.terms.data_record` says of its images.
    """
    return {
        "git": _git(),
        "python": platform.python_version(),
        "versions": {"cxrssl": __version__} | {name: metadata.version(name) for name in _PACKAGES},
        "device": str(accelerator.device),
        "num_processes": accelerator.num_processes,
        "num_threads": torch.get_num_threads(),
        **data,
    }


def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the checkout of cxrssl that the code runs from.

    None where it is installed, be it inside a repository of the user's: that one's commit says
    nothing of the code, which `versions` then names alone.
    """
    here = Path(__file__).resolve().parent
    try:
        root = Path(_output(["git", "rev-parse", "--show-toplevel"], here))
        if not _is_cxrssl(root) or here != root.resolve() / "src" / "cxrssl" / here.name:
            return None
        sha = _output(["git", "rev-parse", "HEAD"], here)
        return {"sha": sha, "dirty": bool(_output(["git", "status", "--porcelain"], here))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _is_cxrssl(root: Path) -> bool:
    """Return whether a folder is the top of cxrssl's own sources."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return bool(project["name"] == "cxrssl")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _output(command: list[str], folder: Path) -> str:
    # In a git hook these name the repository that the hook is of.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        command, cwd=folder, env=outside, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.strip()
