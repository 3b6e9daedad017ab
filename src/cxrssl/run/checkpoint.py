"""Checkpoints: model, optimizer and step as safetensors and JSON, whole or not there.

Randomness and data order are functions of (seed, step), so nothing else needs saving.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json
from cxrssl.core.state import load_own_state, own_state
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
        """Write a checkpoint after every `every_steps` steps.

        Raises:
            TrainingError: If the last step's losses are no numbers: what they left is not to stay.
        """
        if steps_done % self.every_steps:
            return
        check_finite(losses, step=steps_done)
        if self.writes:
            self.save(model, optimizer, steps_done=steps_done)

    def save(self, model: nn.Module, optimizer: Optimizer, *, steps_done: int) -> None:
        """Write a checkpoint in one rename, then drop the ones before it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"step-{steps_done:08d}"
        temporary = self.folder / f"{final.name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # in a container every run has one process id
        temporary.mkdir()
        save_file(own_state(model), temporary / "model.safetensors")
        tensors, rest = _flat(optimizer)
        save_file(tensors, temporary / "optimizer.safetensors")
        scaler = self.scaler.state_dict() if self.scaler is not None else {}
        state = {"steps_done": steps_done, "optimizer": rest, "scaler": scaler}
        write_json(temporary / "state.json", state)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        for path in self.folder.iterdir():
            if path != final:
                shutil.rmtree(path)

    def exist(self) -> bool:
        """Return whether there is a whole checkpoint to go on from."""
        return bool(self._whole())

    def restore(self, model: nn.Module, optimizer: Optimizer) -> int:
        """Load the last whole checkpoint and return the steps done; 0 if there is none.

        Raises:
            RunError: If it is of another network.
        """
        whole = self._whole()
        if not whole:
            return 0
        last = whole[-1]
        try:
            load_own_state(model, load_file(last / "model.safetensors"))
        except (KeyError, RuntimeError) as error:
            raise RunError(
                f"{last} is of another network than the recipe's: {error.args[0]}. Was it written "
                "by another version? Begin anew with another --out."
            ) from error
        state = json.loads((last / "state.json").read_text(encoding="utf-8"))
        _restore_optimizer(optimizer, load_file(last / "optimizer.safetensors"), state["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        return int(state["steps_done"])

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.suffix != ".tmp")


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
