"""Batch normalisation in passes that should leave no trace in its statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def statistics_kept(model: nn.Module, *, kept: bool = True) -> Iterator[None]:
    """Keep the running statistics of a model's BatchNorms as they are, during the block.

    Training passes still normalise by the statistics of their batch.

    Args:
        model: The model.
        kept: False for a block that does nothing.
    """
    norms = [
        module
        for module in model.modules()
        if kept and isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
