"""The provenance of a run: enough to repeat it, nothing about a person or a host."""

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
        accelerator: The accelerator of the run.
        data: Record of its images, from `data.licence_terms.data_record`.
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

    None where it is installed, also inside a repository of the user: the commit of that one says
    nothing about this code, which `versions` then identifies alone.
    """
    package_folder = Path(__file__).resolve().parent
    try:
        root = Path(_output(["git", "rev-parse", "--show-toplevel"], package_folder))
        if (
            not _is_cxrssl(root)
            or package_folder != root.resolve() / "src" / "cxrssl" / package_folder.name
        ):
            return None
        sha = _output(["git", "rev-parse", "HEAD"], package_folder)
        return {
            "sha": sha,
            "dirty": bool(_output(["git", "status", "--porcelain"], package_folder)),
        }
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
    # In a git hook these variables name the repository of the hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    completed = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return completed.stdout.strip()
