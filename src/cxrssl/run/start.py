"""Devices and processes through accelerate, and the optimizer; what both loops begin with."""

from typing import Literal

from accelerate import Accelerator
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from cxrssl.core.errors import RunError

Precision = Literal["fp32", "bf16"]


def start_accelerator(precision: Precision, *, batch_size: int) -> Accelerator:
    """Return the accelerator of this process.

    The precision is always the recipe's, so no accelerate configuration on a machine changes a run.

    Raises:
        RunError: If the global batch does not divide among the processes.
    """
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision)
    if batch_size % accelerator.num_processes:
        raise RunError(
            f"batch_size {batch_size} does not divide among {accelerator.num_processes} processes. "
            "It counts images over all processes; choose a multiple."
        )
    return accelerator


def clip_gradients(accelerator: Accelerator, network: nn.Module, clip_norm: float | None) -> None:
    """Shorten the gradient to at most `clip_norm`; None leaves it alone."""
    if clip_norm is not None:
        accelerator.clip_grad_norm_(network.parameters(), clip_norm)


def build_optimizer(
    model: nn.Module, name: Literal["sgd", "adamw"], momentum: float, weight_decay: float
) -> Optimizer:
    """Return a fused optimizer over the trainable parameters; its rate is set every step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if name == "sgd":
        return SGD(parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)
    betas = (momentum, 0.999)
    return AdamW(parameters, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
