"""The terms of VICReg are the paper's equations written as loops, and lightly's loss."""

import math

import pytest
import torch
from lightly.loss import VICRegLoss
from torch import Tensor

from cxrssl.ssl.losses.vicreg import vicreg


def views(num_images: int = 6, length: int = 5, *, scale: float = 0.8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = scale * torch.randn(2, num_images, length, generator=generator, dtype=torch.float64)
    return both[0], both[1]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def variance_and_covariance(rows: list[list[float]]) -> tuple[float, float]:
    """Follow arXiv 2105.04906, equations 1 to 4, number by number."""
    count, length = len(rows), len(rows[0])
    centre = [mean([row[j] for row in rows]) for j in range(length)]
    c = [
        [
            sum((row[i] - centre[i]) * (row[j] - centre[j]) for row in rows) / (count - 1)
            for j in range(length)
        ]
        for i in range(length)
    ]
    lacking = mean([max(0.0, 1 - math.sqrt(c[j][j] + 1e-4)) for j in range(length)])
    off_diagonal = [c[i][j] ** 2 for i in range(length) for j in range(length) if i != j]
    return lacking, sum(off_diagonal) / length


@pytest.mark.parametrize(("num_images", "scale"), [(2, 0.8), (6, 0.8), (6, 0.0), (6, 3.0)])
def test_the_terms_are_the_papers_equations(num_images: int, scale: float) -> None:
    first, second = views(num_images, scale=scale)
    terms = vicreg(first, second)
    by_view = [variance_and_covariance(view.tolist()) for view in (first, second)]
    squared = [
        sum((a - b) ** 2 for a, b in zip(x, z, strict=True))
        for x, z in zip(first.tolist(), second.tolist(), strict=True)
    ]
    expected = (
        mean(squared) / 5,  # equation 5 over the length
        mean([variance for variance, _ in by_view]),
        sum(covariance for _, covariance in by_view),
    )
    assert [float(term) for term in terms] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 2.0, 3.0)])
@pytest.mark.parametrize(("num_images", "length"), [(2, 5), (32, 64)])
def test_loss_and_gradients_are_lightlys(
    weights: tuple[float, float, float], num_images: int, length: int
) -> None:
    ours, theirs = (
        [view.float().requires_grad_() for view in views(num_images, length)] for _ in range(2)
    )
    terms = vicreg(*ours)
    loss = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    peer = VICRegLoss(*weights)(*theirs)
    loss.backward()
    peer.backward()
    assert float(loss.detach()) == pytest.approx(float(peer.detach()), rel=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=0, atol=1e-5)


def test_equal_embeddings_have_the_whole_loss_of_variance_and_a_finite_gradient() -> None:
    rows = torch.ones(4, 3, requires_grad=True)
    terms = vicreg(rows, rows)
    assert [float(term.detach()) for term in terms] == pytest.approx([0, 0.99, 0])
    sum(terms).backward()
    assert bool(torch.isfinite(rows.grad).all())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(kind: torch.dtype) -> None:
    first, second = (view.to(kind) for view in views())
    for half, full in zip(
        vicreg(first, second), vicreg(first.float(), second.float()), strict=True
    ):
        assert half.dtype == torch.float32
        assert torch.equal(half, full)
