"""NT-Xent is the paper's Algorithm 1 written as loops, and lightly's."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss

from cxrssl.ssl.losses.nt_xent import nt_xent


def algorithm_1(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    """Follow arXiv 2002.05709, Algorithm 1, line by line; z[2k], z[2k + 1] are one image's."""
    z = [row for pair in zip(first, second, strict=True) for row in pair]
    s = [[float(a @ b / (a.norm() * b.norm())) for b in z] for a in z]

    def loss(i: int, j: int) -> float:
        below = sum(math.exp(s[i][k] / temperature) for k in range(len(z)) if k != i)
        return -math.log(math.exp(s[i][j] / temperature) / below)

    total = sum(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(len(first)))
    return total / len(z)


def embeddings(num_images: int = 6, length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, num_images, length, generator=generator, dtype=torch.float64)
    return both[0], both[1]


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("num_images", [1, 2, 6])
def test_equals_the_papers_algorithm(temperature: float, num_images: int) -> None:
    first, second = embeddings(num_images)
    loss = float(nt_xent(first, second, temperature=temperature))
    assert loss == pytest.approx(algorithm_1(first, second, temperature), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("num_images", [2, 16, 128])
def test_loss_and_gradients_are_lightlys(temperature: float, num_images: int) -> None:
    ours, theirs = (
        [view.float().requires_grad_() for view in embeddings(num_images, 64)] for _ in range(2)
    )
    loss = nt_xent(*ours, temperature=temperature)
    peer = NTXentLoss(temperature=temperature)(*theirs)
    loss.backward()
    peer.backward()
    assert float(loss.detach()) == pytest.approx(float(peer.detach()), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=0, atol=1e-6)


def test_views_of_one_patient_are_no_negatives_of_each_other() -> None:
    first, second = embeddings()
    patients = [4, 7, 4, 1, 7, 4]
    z, number = [*first, *second], patients * 2
    cosine = [[float(a @ b / (a.norm() * b.norm())) for b in z] for a in z]
    losses = []
    for anchor in range(12):
        partner = (anchor + 6) % 12
        others = [k for k in range(12) if k == partner or number[k] != number[anchor]]
        below = sum(math.exp(cosine[anchor][k] / 0.3) for k in others)
        losses.append(-math.log(math.exp(cosine[anchor][partner] / 0.3) / below))
    loss = float(nt_xent(first, second, temperature=0.3, images=torch.tensor(patients)))
    assert loss == pytest.approx(sum(losses) / 12, abs=1e-12)
    different = nt_xent(first, second, temperature=0.3, images=torch.arange(6))
    assert torch.equal(different, nt_xent(first, second, temperature=0.3))


def test_equal_embeddings_have_the_loss_of_chance() -> None:
    equal_rows = torch.ones(4, 3)
    assert float(nt_xent(equal_rows, equal_rows, temperature=0.5)) == pytest.approx(
        math.log(7), abs=1e-6
    )


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_contrasted_in_full(kind: torch.dtype) -> None:
    first, second = (x.to(kind) for x in embeddings())
    loss = nt_xent(first, second, temperature=0.05)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent(first.float(), second.float(), temperature=0.05))
