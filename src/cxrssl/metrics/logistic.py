"""A logistic regression on features of images: in float64 on the CPU, from a fixed start.

Shapes: N images, D features; K where several kinds are told from their absence at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MOST_ITERATIONS = 2_000
GRADIENT = 1e-6
"""Largest part of the gradient of a fit that has ended; features have variance 1."""
_CONSTANT = 1e-6
"""A feature whose standard deviation is a smaller share of its mean varies by rounding alone."""


@dataclass(frozen=True)
class Fit:
    """A logistic regression: the logit of an image is `weight @ features + bias`.

    Attributes:
        weight: [D] or [D, K] float64, of features as they are; 0 for those that do not vary.
        bias: [] or [K] float64.
        num_constant: Features that do not vary.
        gradient: Largest part of the gradient at the end, 0 at the minimum.
    """

    weight: Tensor
    bias: Tensor
    num_constant: int
    gradient: float

    def logits(self, features: Tensor) -> Tensor:
        """Return [N] or [N, K] float64 of features [N, D]."""
        return features.double() @ self.weight + self.bias


def fit_logistic(
    features: Tensor, has_kind: Tensor, weight_decay: float, *, end_gradient: float = GRADIENT / 100
) -> Fit:
    """Fit a logistic regression by L-BFGS, on standardised features, from weights of 0.

    Its loss is the mean over images of the negative log likelihood, and `weight_decay` times half
    the squared norm of the weights, without the bias; for K kinds, the sum over them. It has one
    minimum.

    Args:
        features: [N, D].
        has_kind: [N] or [N, K] bool.
        weight_decay: Above 0.
        end_gradient: Largest part of the gradient at which it ends, unless iterations run out.
    """
    features, target = features.double(), has_kind.double()
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    varies = std > _CONSTANT * mean.abs()
    scale = torch.where(varies, 1 / torch.where(varies, std, 1.0), 0.0)
    inputs = (features - mean) * scale
    kinds = target.shape[1:]
    weight = torch.zeros(features.shape[1], *kinds, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(kinds, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MOST_ITERATIONS,
        tolerance_grad=end_gradient,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        nll = functional.binary_cross_entropy_with_logits(inputs @ weight + bias, target)
        total = kinds.numel() * nll + weight_decay / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[no-untyped-call]
    loss()
    assert weight.grad is not None
    assert bias.grad is not None
    gradient = float(torch.cat([weight.grad, bias.grad[None]]).abs().max())
    folded = weight.detach() * scale.view(-1, *[1 for _ in kinds])
    return Fit(folded, bias.detach() - mean @ folded, int((~varies).sum()), gradient)
