"""InfoNCE is equation 1 of MoCo written as loops, and lightly's with a memory bank."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional

from cxrssl.ssl.losses.info_nce import info_nce

BATCH, NEGATIVES, LENGTH = 5, 7, 6


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2 * BATCH + NEGATIVES, LENGTH, generator=generator, dtype=torch.float64)
    queries, keys, negatives = drawn.split([BATCH, BATCH, NEGATIVES])
    return queries, keys, functional.normalize(negatives, dim=1)


def by_loops(temperature: float, excluded: torch.Tensor) -> float:
    queries, keys, negatives = rows()
    losses = []
    for number, (query, key) in enumerate(zip(queries, keys, strict=True)):
        positive = math.exp(float(query @ key / (query.norm() * key.norm())) / temperature)
        negative_terms = [
            math.exp(float(query @ negative / query.norm()) / temperature)
            for index, negative in enumerate(negatives)
            if not excluded[number, index]
        ]
        losses.append(-math.log(positive / (positive + sum(negative_terms))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_equals_the_papers_equation_without_negatives_of_the_querys_image(
    temperature: float,
) -> None:
    queries, keys, negatives = rows()
    none = torch.zeros(BATCH, NEGATIVES, dtype=torch.bool)
    some = none.clone()
    some[2, 3] = some[4, 0] = True
    losses = [
        float(info_nce(queries, keys, negatives, temperature=temperature, excluded=excluded))
        for excluded in (none, some)
    ]
    expected = [by_loops(temperature, excluded) for excluded in (none, some)]
    assert losses == pytest.approx(expected, abs=1e-12)
    assert losses[1] < losses[0]


def test_loss_and_gradient_are_lightlys() -> None:
    queries, keys, negatives = (part.float() for part in rows())
    ours, theirs = queries.clone().requires_grad_(), queries.clone().requires_grad_()
    peer = NTXentLoss(temperature=0.2, memory_bank_size=(NEGATIVES, LENGTH))
    peer.memory_bank.bank = negatives.clone()  # it puts the keys in
    expected = peer(theirs, keys)
    excluded = torch.zeros(BATCH, NEGATIVES, dtype=torch.bool)
    loss = info_nce(ours, keys, negatives, temperature=0.2, excluded=excluded)
    expected.backward()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-6)
