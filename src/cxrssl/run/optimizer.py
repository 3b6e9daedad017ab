"""Optimizers by name, over the parameters that are trained. LARS is timm's; torch has none."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from timm.optim import Lars
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

Name = Literal["sgd", "lars", "adamw"]


def build_optimizer(
    model: nn.Module,
    name: Name,
    momentum: float,
    weight_decay: float,
    *,
    lr_scales: Mapping[str, float] | None = None,
) -> Optimizer:
    """Return an optimizer over the trainable parameters; its rate is set every step.

    Args:
        model: The network, on the device where it is trained.
        name: `sgd` and `adamw` decay all parameters; `lars` neither decays nor adapts the rate of
            biases and norms (one-dimensional parameters), as SimCLR's appendix B.1 has it.
        momentum: Momentum of SGD and LARS; the first beta of AdamW.
        weight_decay: L2 for SGD and LARS, decoupled for AdamW.
        lr_scales: Factor of the learning rate of parameters, by their name in the model; of those
            that it does not name it is 1. None for one rate, in one group as torch makes it.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": parameters}] if lr_scales is None else _by_scale(model, lr_scales)
    if name == "sgd":
        sgd = SGD(groups, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)
        if momentum > 0:
            _zero_momentum(sgd, parameters)
        return sgd
    if name == "lars":
        groups = _by_dimensions(groups, weight_decay)
        lars: Optimizer = Lars(groups, lr=0.0, momentum=momentum)
        return lars
    betas = (momentum, 0.999)
    return AdamW(groups, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)


def _by_scale(model: nn.Module, lr_scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups of one factor, `lr_scale` as timm calls it."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(lr_scales.get(name, 1.0), []).append(parameter)
    return [{"params": groups[scale], "lr_scale": scale} for scale in sorted(groups)]


def _by_dimensions(groups: Sequence[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    """Split each group into matrices and what has one dimension, as LARS treats them."""
    split = []
    for group in groups:
        adapted = [p for p in group["params"] if p.ndim > 1]
        not_adapted = [p for p in group["params"] if p.ndim <= 1]
        split += [
            group | {"params": adapted, "weight_decay": weight_decay, "always_adapt": True},
            group | {"params": not_adapted, "weight_decay": 0.0, "always_adapt": False},
        ]
    return split


def _zero_momentum(sgd: SGD, parameters: list[nn.Parameter]) -> None:
    """Give fused SGD momentum of zero, which its first step turns into the gradient as usual.

    Without it torch takes memory as it comes and leaves it so when fp16's loss scaler skips the
    first step, as it mostly does: from the second step on that memory is the momentum.
    """
    for parameter in parameters:
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
