"""Checkpoints: model, optimizer and step as safetensors and JSON, complete or absent.

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
    """The checkpoints of one run; the last complete one survives any kill.

    Attributes:
        folder: Folder that holds them, as `step-00000120/`.
        every_steps: Steps between two checkpoints.
        num_steps: Steps of the whole run. The last one is saved too, for what follows it, as the
            scores of the test split, can be cut as well.
        writes: Whether this process writes them.
        scaler: The loss scaler of fp16, or None; its state is part of a checkpoint.
        average: The average of the weights, or None; it is part of a checkpoint, too.
    """

    folder: Path
    every_steps: int
    num_steps: int
    writes: bool
    scaler: GradScaler | None = None
    average: nn.Module | None = None

    def save_if_due(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        losses: Mapping[str, Tensor],
        *,
        steps_done: int,
    ) -> None:
        """Write a checkpoint every `every_steps` steps, at the last, and before an interrupt.

        Raises:
            TrainingError: If the last step's losses are not finite; nothing is saved then.
            Interrupted: If Ctrl-C or SIGTERM has waited for the end of this step.
        """
        is_due = steps_done % self.every_steps == 0 or steps_done == self.num_steps
        if not is_due and pending_signal() is None:
            return
        check_finite(losses, step=steps_done)
        if self.writes:
            self.save(model, optimizer, steps_done=steps_done)
        end_if_interrupted()

    def save(self, model: nn.Module, optimizer: Optimizer, *, steps_done: int) -> None:
        """Write a checkpoint in one rename, then drop the ones before it.

        They are deleted only once the new one would survive a power cut: its files, then its
        folder, then its name are on the disk.

        Raises:
            OSError: If the disk is full, as for other files.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"step-{steps_done:08d}"
        if not final.exists():  # a complete one of this step is as good
            temporary = self.folder / f"{final.name}.{os.getpid()}.tmp"
            # In a container every run has one process id.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            self._write(temporary, model, optimizer, steps_done=steps_done)
            _sync_to_disk(*temporary.iterdir(), temporary)
            temporary.rename(final)
            _sync_to_disk(self.folder)
        for path in self.folder.glob("step-*"):
            if path != final:
                shutil.rmtree(path, ignore_errors=True)

    def _write(
        self, folder: Path, model: nn.Module, optimizer: Optimizer, *, steps_done: int
    ) -> None:
        tensors, scalars = _split_state(optimizer)
        scaler = self.scaler.state_dict() if self.scaler is not None else {}
        _save_tensors(unique_tensors(model), folder / "model.safetensors")
        _save_tensors(tensors, folder / "optimizer.safetensors")
        if self.average is not None:
            _save_tensors(unique_tensors(self.average), folder / "average.safetensors")
        state = {"steps_done": steps_done, "optimizer": scalars, "scaler": scaler}
        write_json(folder / "state.json", state)

    def exist(self) -> bool:
        """Return whether there is a complete checkpoint to resume from."""
        return bool(self._complete())

    def restore(self, model: nn.Module, optimizer: Optimizer) -> int:
        """Load the last complete checkpoint and return the steps done; 0 if there is none.

        Raises:
            RunError: If it belongs to another network, or is damaged.
        """
        complete = self._complete()
        if not complete:
            return 0
        latest = complete[-1]
        parts = ("model", "optimizer", *(["average"] if self.average is not None else []))
        try:
            weights, optimizer_tensors, *average = (
                load_file(latest / f"{name}.safetensors") for name in parts
            )
            state = json.loads((latest / "state.json").read_text(encoding="utf-8"))
            steps_done, scalars, scaler = (
                state[key] for key in ("steps_done", "optimizer", "scaler")
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{latest} is damaged ({error}): expected "
                f"{', '.join(f'{name}.safetensors' for name in parts)} and state.json, each "
                "complete. Restore it from a copy, or begin anew with another "
                "--out."
            ) from error
        try:
            load_unique_tensors(model, weights)
            for tensors in average:
                assert self.average is not None
                load_unique_tensors(self.average, tensors)
        except (KeyError, RuntimeError) as error:
            raise RunError(
                f"{latest} is of another network than the recipe's: {error.args[0]}. Was it "
                "written by another version? Begin anew with another --out."
            ) from error
        _restore_optimizer(optimizer, optimizer_tensors, scalars)
        if self.scaler is not None:
            self.scaler.load_state_dict(scaler)
        return int(steps_done)

    def _complete(self) -> list[Path]:
        """Return the complete checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if path.suffix != ".tmp")


def _sync_to_disk(*paths: Path) -> None:
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
        # Its text holds the number of the system's error.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _split_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimizer's tensors, and its other values, both under `parameter.name`."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{index}.{name}"] = value
    return {key: value.contiguous() for key, value in tensors.items()}, scalars


def _restore_optimizer(
    optimizer: Optimizer, tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | scalars).items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            # A fused optimizer walks memory: its state needs the memory format of the parameter.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
