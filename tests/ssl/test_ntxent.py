"""NT-Xent equals the paper's Algorithm 1 written as loops, in one process and in two."""

import math
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cxrssl.ssl.ntxent import nt_xent


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
    found = float(nt_xent(first, second, temperature=temperature))
    assert found == pytest.approx(algorithm_1(first, second, temperature), abs=1e-12)


def test_permuting_the_images_leaves_the_loss() -> None:
    first, second = embeddings()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    whole = nt_xent(first, second, temperature=0.5)
    assert torch.allclose(nt_xent(first[order], second[order], temperature=0.5), whole)
    assert not torch.allclose(nt_xent(first[order], second, temperature=0.5), whole)


def test_equal_embeddings_have_the_loss_of_chance() -> None:
    same = torch.ones(4, 3)
    assert float(nt_xent(same, same, temperature=0.5)) == pytest.approx(math.log(7), abs=1e-6)


def test_half_precision_is_contrasted_in_full() -> None:
    first, second = (x.to(torch.bfloat16) for x in embeddings())
    assert nt_xent(first, second, temperature=0.5).dtype == torch.float32


def _share(rank: int, rendezvous: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    first, second = (x[rank * 3 : rank * 3 + 3].clone().requires_grad_() for x in embeddings())
    loss = nt_xent(first, second, temperature=0.5)
    loss.backward()
    torch.save([loss.detach(), first.grad, second.grad], f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_loss_and_gradient_of_one() -> None:
    first, second = (x.clone().requires_grad_() for x in embeddings())
    whole = nt_xent(first, second, temperature=0.5)
    whole.backward()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_share, args=(str(Path(folder) / "meet"), folder), nprocs=2)
        parts = [
            torch.load(Path(folder) / f"{rank}.pt")  # noqa: TID251 - written four lines above
            for rank in (0, 1)
        ]
    assert float(sum(part[0] for part in parts) / 2) == pytest.approx(
        float(whole.detach()), abs=1e-12
    )
    for index, grad in ((1, first.grad), (2, second.grad)):
        # Averaging gradients over processes halves what each has.
        shared = torch.cat([part[index] for part in parts]) / 2
        assert torch.allclose(shared, grad, atol=1e-12)
