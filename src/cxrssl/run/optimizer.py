"""Optimizers by name, over the parameters that are trained. LARS is timm's; torch has none."""

from typing import Literal

import torch
from timm.optim import Lars
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

Name = Literal["sgd", "lars", "adamw"]


def build_optimizer(
    model: nn.Module, name: Name, momentum: float, weight_decay: float
) -> Optimizer:
    """Return an optimizer over the trainable parameters; its rate is set every step.

    Args:
        model: The network, on the device where it is trained.
        name: `sgd` and `adamw` decay all parameters; `lars` neither decays nor adapts the rate of
            biases and norms (one-dimensional parameters), as SimCLR's appendix B.1 has it.
        momentum: Momentum of SGD and LARS; the first beta of AdamW.
        weight_decay: L2 for SGD and LARS, decoupled for AdamW.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if name == "sgd":
        sgd = SGD(parameters, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)
        if momentum > 0:
            _zero_momentum(sgd, parameters)
        return sgd
    if name == "lars":
        adapted = [p for p in parameters if p.ndim > 1]
        not_adapted = [p for p in parameters if p.ndim <= 1]
        groups = [
            {"params": adapted, "weight_decay": weight_decay, "always_adapt": True},
            {"params": not_adapted, "weight_decay": 0.0, "always_adapt": False},
        ]
        lars: Optimizer = Lars(groups, lr=0.0, momentum=momentum)
        return lars
    betas = (momentum, 0.999)
    return AdamW(parameters, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)


def _zero_momentum(sgd: SGD, parameters: list[nn.Parameter]) -> None:
    """Give fused SGD momentum of zero, which its first step turns into the gradient as usual.

    Without it torch takes memory as it comes and leaves it so when fp16's loss scaler skips the
    first step, as it mostly does: from the second step on that memory is the momentum.
    """
    for parameter in parameters:
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
