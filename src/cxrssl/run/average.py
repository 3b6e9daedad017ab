"""A moving average of a network's weights (EMA), which is scored and kept in their place."""

import copy

from torch import nn

from cxrssl.core.state import move_towards


def average_of(model: nn.Module) -> nn.Module:
    """Return a copy of a network, in use mode, that no gradient reaches."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def move_average(average: nn.Module, model: nn.Module, *, decay: float, steps_done: int) -> None:
    """Move an average towards the network after a step; buffers are the network's.

    Each parameter becomes d * itself + (1 - d) * the network's, with d = decay, but at most
    (1 + t) / (10 + t) after t steps, so that a short run forgets its start, too.

    Args:
        average: What `average_of` returned.
        model: The network.
        decay: In [0, 1).
        steps_done: t, with this one.
    """
    share = min(decay, (1 + steps_done) / (10 + steps_done))
    move_towards(average, model, momentum=share)
