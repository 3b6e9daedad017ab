"""Batch normalisation in passes that should leave no trace in its statistics, and settling them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = dict[str, Tensor]


@contextmanager
def statistics_kept(model: nn.Module, *, kept: bool = True) -> Iterator[None]:
    """Keep the running statistics of a model's BatchNorms as they are, during the block.

    Training passes still normalise by the statistics of their batch.

    Args:
        model: The model.
        kept: False for a block that does nothing.
    """
    norms = list(_norms_with_statistics(model).values()) if kept else []
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@torch.no_grad()
def batch_statistics(model: nn.Module, images: Tensor) -> Statistics:
    """Return the mean and the unbiased variance of what a batch brings before each BatchNorm.

    Each normalises by the batch as in training; all else is in evaluation mode, so that nothing is
    drawn at random, and synchronised norms do not wait for other processes. The model is left in
    evaluation mode, with statistics of this batch.

    Args:
        model: The model.
        images: [B, C, H, W], 2 of them at least, as they reach the model.

    Returns:
        [2, C] for each BatchNorm that was reached, by its name in the model.
    """
    statistics: Statistics = {}

    def take(name: str, norm: _BatchNorm, inputs: tuple[Tensor]) -> None:
        (values,) = inputs
        mean, unbiased = values.new_zeros(2, values.shape[1])
        functional.batch_norm(values, mean, unbiased, training=True, momentum=1.0)
        statistics[name] = torch.stack([mean, unbiased])
        places = values.numel() // values.shape[1]
        _set(norm, mean, unbiased * ((places - 1) / places))

    model.eval()
    hooks = [
        norm.register_forward_pre_hook(partial(take, name))
        for name, norm in _norms_with_statistics(model).items()
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return statistics


@torch.no_grad()
def settle_statistics(model: nn.Module, of_batches: Sequence[Statistics]) -> None:
    """Give a model's BatchNorms the plain average of what `batch_statistics` returned for batches.

    Source: PreciseBN, arXiv 2105.07576, section 3.
    """
    norms = _norms_with_statistics(model)
    for name in of_batches[0]:
        mean, variance = torch.stack([batch[name] for batch in of_batches]).mean(dim=0)
        _set(norms[name], mean, variance)


def has_statistics(model: nn.Module) -> bool:
    """Return whether a model has a BatchNorm with running statistics."""
    return bool(_norms_with_statistics(model))


def _set(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _norms_with_statistics(model: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
