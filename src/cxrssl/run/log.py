"""The log of a run: JSON lines of losses and scores, read by the report."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrssl.core.errors import RunError, TrainingError
from cxrssl.core.files import write_json, write_text
from cxrssl.core.records import reading

# Longer than any line.
_TAIL_BYTES = 4096


class Log:
    """Append-only JSON lines; a resumed run first drops the lines after its checkpoint.

    Attributes:
        num_steps: Steps of the whole run.
        steps_before: Steps that were done when it was opened.
        latest: The last logged loss and learning rate, for progress; the loss is the sum of the
            parts if none is called `loss`.
    """

    def __init__(
        self, path: Path, every_steps: int, *, num_steps: int, steps_done: int, writes: bool
    ) -> None:
        """Open the log of a run of `num_steps`, of which `steps_done` are done.

        Losses are due every `every_steps` steps and at the last.

        Raises:
            RunError: If lines of steps that are done are missing.
        """
        self._path, self._writes = path, writes
        self._every_steps, self.num_steps = every_steps, num_steps
        self.steps_before, self.latest = steps_done, dict[str, float]()
        if writes:
            lines = _lines(path) if steps_done else []
            kept_lines = [line for line in lines if line["step"] <= steps_done]
            self._check_complete(kept_lines, steps_done)
            write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept_lines))
            write_json(path.with_name("length.json"), {"num_steps": num_steps})

    def _check_complete(self, lines: list[dict[str, Any]], steps_done: int) -> None:
        """Check that there are the losses of every step that is done and at which they were due."""
        logged = {line["step"] for line in lines if "lr" in line}
        due = {*range(self._every_steps, steps_done + 1, self._every_steps)}
        due |= {steps_done} if steps_done == self.num_steps else set()
        missing = sorted(due - logged)
        if missing:
            raise RunError(
                f"{self._path} lacks the losses of step {missing[0]}, and the run's checkpoint is "
                f"of step {steps_done}: the file was cut, replaced or deleted. Restore it from a "
                "copy, or begin anew with another --out."
            )

    def is_due(self, steps_done: int) -> bool:
        """Return whether losses are due after that many steps."""
        return steps_done % self._every_steps == 0 or steps_done == self.num_steps

    def write_losses_if_due(
        self, losses: Mapping[str, Tensor], *, steps_done: int, epoch: int, lr: float
    ) -> None:
        """Check and write the losses of a step at which they are due.

        Only then are they read from the device, which waits for it.

        Raises:
            TrainingError: If a part is infinite or not a number.
        """
        if not self.is_due(steps_done):
            return
        check_finite(losses, step=steps_done)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self.latest = {"loss": values.get("loss", sum(values.values())), "lr": lr}
        self.write(values | {"lr": lr}, steps_done=steps_done, epoch=epoch)

    def write_timing(self, *, seconds: float, seconds_waiting: float) -> None:
        """Write `timing.json`: time since the log was opened, and waiting time for images.

        Not into `metrics.json`, whose bytes are the same however often a run was cut. A start that
        had no step left keeps what the one before has written.
        """
        num_taken = self.num_steps - self.steps_before
        if self._writes and num_taken > 0:
            timing = {
                "steps": num_taken,
                "seconds": round(seconds, 3),
                "share_waiting_for_data": round(seconds_waiting / max(seconds, 1e-9), 4),
            }
            write_json(self._path.with_name("timing.json"), timing)

    def write(self, values: Mapping[str, float | None], *, steps_done: int, epoch: int) -> None:
        """Append a line that survives a power cut, as the checkpoint after it does."""
        if self._writes:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": steps_done, "epoch": epoch, **values}) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def history(self, name: str) -> list[float]:
        """Return the value of every line that has one for `name`, oldest first."""
        values = [line.get(name) for line in _lines(self._path)]
        return [float(value) for value in values if value is not None]


def check_finite(losses: Mapping[str, Tensor], *, step: int) -> None:
    """Stop a run whose loss is not finite, naming the part.

    Raises:
        TrainingError: If a part is infinite or not a number.
    """
    if bool(torch.isfinite(torch.stack([loss.detach() for loss in losses.values()])).all()):
        return
    parts = ", ".join(f"{name} = {float(loss):g}" for name, loss in losses.items())
    raise TrainingError(
        f"the loss is not finite at step {step}: {parts}. Lower optim.peak_lr, or set clip_norm."
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, except one that a full disk has cut short."""
    if not path.is_file():
        return []
    with reading(path):
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log so far, none where it has not begun."""
    return _lines(folder / "metrics.jsonl")


def last_line(folder: Path) -> dict[str, Any] | None:
    """Return the last complete line of a run's log, None if there is none yet."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().splitlines(keepends=True)
    complete_lines = [line for line in lines if line.endswith(b"\n") and line.startswith(b"{")]
    with reading(path):
        return dict(json.loads(complete_lines[-1])) if complete_lines else None
