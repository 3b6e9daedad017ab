"""The learning rate as a pure function of the step, so that there is no scheduler state to lose."""

import math
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer

from cxrssl.core.errors import RunError


@dataclass(frozen=True)
class LearningRate:
    """A linear rise, then a cosine to zero, a constant, or a constant that falls by steps.

    Attributes:
        schedule: Shape of the schedule after the warm-up.
        peak: Learning rate after the warm-up.
        warmup_steps: Length of the rise, at most half of the run.
        num_steps: Length of the run.
        drops: Steps at which the rate drops to a tenth, for `steps`.
    """

    schedule: Literal["cosine", "constant", "steps"]
    peak: float
    warmup_steps: int
    num_steps: int
    drops: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the length of the warm-up.

        Raises:
            RunError: If the warm-up takes more than half of the run.
        """
        if 2 * self.warmup_steps > self.num_steps:
            raise RunError(
                f"optim.warmup_steps is {self.warmup_steps}, more than half of the run's "
                f"{self.num_steps} steps. Set it to {self.num_steps // 2} or less, or train longer."
            )

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        warmup = self.warmup_steps
        if step < warmup:
            return self.peak * (step + 1) / (warmup + 1)
        if self.schedule != "cosine":
            return self.peak * 0.1 ** sum(step >= drop for drop in self.drops)
        progress = (step - warmup) / max(1, self.num_steps - warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * progress))


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group a learning rate, times its `lr_scale` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
