"""Losses of self-supervised methods, one file a loss; none has weights."""

import torch
from torch import Tensor


def at_least_float32(rows: Tensor) -> Tensor:
    """Return rows in float32, or in float64 if they are in it: half precision is too coarse."""
    return rows if rows.dtype == torch.float64 else rows.float()
