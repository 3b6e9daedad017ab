"""Rows of all processes, in the order of their ranks.

Shapes: B rows in this process, W processes, D their length.
"""

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """All processes' tensors, with gradients; without these the loss alone would be right."""

    @staticmethod
    def forward(_ctx: object, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_ctx: object, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def all_processes(rows: Tensor) -> Tensor:
    """Return [BW, D]: every process's rows [B, D] in order of rank, with gradients."""
    if not _is_distributed():
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered.flatten(0, 1)


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
