"""How alike two representations of the same images are: linear CKA.

Source: arXiv 1905.00414, section 3, with the unbiased HSIC of Song et al. (JMLR 13, 2012, equation
5) as in arXiv 2010.15327, equation 3. The plain one is near 1 for any two representations that have
many more features than there are images, unrelated ones too.

Shapes: N images, F features.
"""

import math

import torch
from torch import Tensor

LEAST_IMAGES = 4
"""With fewer there is no unbiased HSIC."""


def gram(features: Tensor) -> Tensor:
    """Return the products [N, N] float64 of the centred features [N, F] of every two images."""
    centred = features.double()
    centred = centred - centred.mean(dim=0)
    return centred @ centred.T


def cka(first: Tensor, second: Tensor) -> float | None:
    """Return the linear CKA of two representations of N images, given their `gram` [N, N].

    Returns:
        At most 1, for the same up to a rotation, a shift and a scale; about 0, and it can be less,
        for unrelated ones. None for fewer than four images, or where one is the same for all.

    Raises:
        ValueError: If they are of different numbers of images.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"expected products of the same images, got shapes {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    if len(first) < LEAST_IMAGES:
        return None
    scale = hsic(first, first) * hsic(second, second)
    value = hsic(first, second) / math.sqrt(scale) if scale > 0 else math.nan
    return min(1.0, value) if math.isfinite(value) else None


def hsic(first: Tensor, second: Tensor) -> float:
    """Return the unbiased estimate of the independence criterion of two kernels [N, N], N >= 4."""
    k, el, n = _without_diagonal(first), _without_diagonal(second), len(first)
    both = (k * el).sum()
    sums = k.sum() * el.sum() / ((n - 1) * (n - 2))
    rows = 2 * (k.sum(dim=0) @ el.sum(dim=0)) / (n - 2)
    return float(both + sums - rows) / (n * (n - 3))


def _without_diagonal(kernel: Tensor) -> Tensor:
    matrix = kernel.double().clone()
    matrix.fill_diagonal_(0)
    return torch.as_tensor(matrix)
