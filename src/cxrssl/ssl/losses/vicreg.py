"""The terms of VICReg, over all processes.

Shapes: B images in this process, W processes, D the embedding's length.
Source: arXiv 2105.04906, equations 1 to 6.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cxrssl.ssl.gather import all_processes
from cxrssl.ssl.losses import at_least_float32

_VARIANCE_ADDED = 1e-4  # keeps the root's gradient finite; section 4.1


class Terms(NamedTuple):
    """The terms without weights, scalars in float32 at least.

    Attributes:
        invariance: Mean squared difference of two views' numbers, over this process's images; >= 0.
        variance: Mean over both views and all dimensions of what the deviation lacks of 1; 0..1.
        covariance: Sum of squared covariances of different dimensions over D, both views; >= 0.
    """

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg(first: Tensor, second: Tensor) -> Terms:
    """Return the three terms; the mean of each over processes is that of the whole batch.

    Deviations and covariances are those of the global batch, so that they are equal in all
    processes. As in the authors' code, invariance is a mean over dimensions too, and variance a
    mean over the two views; equations 5 and 6 sum both.

    Args:
        first: [B, D] embeddings of one view of each image; BW >= 2.
        second: [B, D] embeddings of the other view, same order.
    """
    views = at_least_float32(first), at_least_float32(second)
    invariance = functional.mse_loss(*views)
    variances, covariances = zip(*(_spread(all_processes(view)) for view in views), strict=True)
    return Terms(invariance, torch.stack(variances).mean(), torch.stack(covariances).sum())


def _spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the terms of variance and covariance of one view's rows [BW, D].

    Source: arXiv 2105.04906, equations 1 and 2, and 3 and 4.
    """
    num_rows, length = rows.shape
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (num_rows - 1)
    variance = covariance.diagonal()
    lacking = functional.relu(1 - (variance + _VARIANCE_ADDED).sqrt()).mean()
    between = (covariance - variance.diag()).square().sum() / length
    return lacking, between
