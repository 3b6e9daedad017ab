"""Checkpoints: model, optimizer and step as safetensors and JSON, whole or not there.

Randomness and data order are functions of (seed, step), so nothing else needs saving.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json
from cxrssl.core.interrupts import end_if_interrupted, pending_signal
from cxrssl.core.state import load_unique_tensors, unique_tensors
from cxrssl.run.log import check_finite


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run; the last whole one survives any kill.

    Attributes:
        folder: Where they lie, as `step-00000120/`.
        every_steps: How often one is due.
        writes: Whether this process is the one that writes them.
        scaler: What scales the loss in fp16, or None; how far it has got is part of a checkpoint.
    """

    folder: Path
    every_steps: int
    writes: bool
    scaler: GradScaler | None = None

    def save_if_due(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        losses: Mapping[str, Tensor],
        *,
        steps_done: int,
    ) -> None:
        """Write a checkpoint after every `every_steps` steps, and before an interrupted run ends.

        Raises:
            TrainingError: If the last step's losses are no numbers: what they left is not to stay.
            Interrupted: If Ctrl-C or SIGTERM has waited for the end of this step.
        """
        if steps_done % self.every_steps and pending_signal() is None:
            return
        check_finite(losses, step=steps_done)
        if self.writes:
            self.save(model, optimizer, steps_done=steps_done)
        end_if_interrupted()

    def save(self, model: nn.Module, optimizer: Optimizer, *, steps_done: int) -> None:
        """Write a checkpoint in one rename, then drop the ones before it.

        They go only once the new one would survive a power cut as well: its files, then its
        folder, then its name are on the disk.

        Raises:
            OSError: If the disk is full, as for other files.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"step-{steps_done:08d}"
        if not final.exists():  # a whole one of this step is as good
            temporary = self.folder / f"{final.name}.{os.getpid()}.tmp"
            # In a container every run has one process id.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            self._write(temporary, model, optimizer, steps_done=steps_done)
            _to_disk(*temporary.iterdir(), temporary)
            temporary.rename(final)
            _to_disk(self.folder)
        for path in self.folder.glob("step-*"):
            if path != final:
                shutil.rmtree(path, ignore_errors=True)

    def _write(
        self, folder: Path, model: nn.Module, optimizer: Optimizer, *, steps_done: int
    ) -> None:
        tensors, rest = _flat(optimizer)
        scaler = self.scaler.state_dict() if self.scaler is not None else {}
        _save_tensors(unique_tensors(model), folder / "model.safetensors")
        _save_tensors(tensors, folder / "optimizer.safetensors")
        state = {"steps_done": steps_done, "optimizer": rest, "scaler": scaler}
        write_json(folder / "state.json", state)

    def exist(self) -> bool:
        """Return whether there is a whole checkpoint to go on from."""
        return bool(self._whole())

    def restore(self, model: nn.Module, optimizer: Optimizer) -> int:
        """Load the last whole checkpoint and return the steps done; 0 if there is none.

        Raises:
            RunError: If it is of another network, or damaged.
        """
        whole = self._whole()
        if not whole:
            return 0
        last = whole[-1]
        try:
            weights, moments = (
                load_file(last / f"{name}.safetensors") for name in ("model", "optimizer")
            )
            state = json.loads((last / "state.json").read_text(encoding="utf-8"))
            steps_done, rest, scaler = (state[key] for key in ("steps_done", "optimizer", "scaler"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{last} is damaged ({error}): expected model.safetensors, optimizer.safetensors "
                "and state.json, each whole. Restore it from a copy, or begin anew with another "
                "--out."
            ) from error
        try:
            load_unique_tensors(model, weights)
        except (KeyError, RuntimeError) as error:
            raise RunError(
                f"{last} is of another network than the recipe's: {error.args[0]}. Was it written "
                "by another version? Begin anew with another --out."
            ) from error
        _restore_optimizer(optimizer, moments, rest)
        if self.scaler is not None:
            self.scaler.load_state_dict(scaler)
        return int(steps_done)

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.suffix != ".tmp")


def _to_disk(*paths: Path) -> None:
    """Wait until files and folders are on the disk, in the order given."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network file systems have no such call for folders; the files come before them.
            if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # It hides the system's number in its text.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _flat(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimizer's tensors under `parameter.name`, and what is no tensor."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else rest)[f"{index}.{name}"] = value
    return {key: value.contiguous() for key, value in tensors.items()}, rest


def _restore_optimizer(
    optimizer: Optimizer, tensors: dict[str, Tensor], rest: dict[str, Any]
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | rest).items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # A fused optimizer walks memory: what it remembers must lie as the parameter does.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
