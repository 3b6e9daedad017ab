"""BYOL: its steps are the paper's with lightly's parts; its copy moves as the closed form says."""

import copy
import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from cxrssl.ssl.byol import BYOL, momentum_at

BATCH, LENGTH = 6, 5


def byol(momentum: float = 0.9) -> BYOL:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU())
    heads = nn.Linear(8, LENGTH), nn.Linear(LENGTH, LENGTH)
    return BYOL(encoder, *heads, momentum=momentum).train()


def batch(number: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"views": torch.randn(BATCH, 2, 3, 4, 4, generator=generator)}


def lightlys(outputs: tuple[Tensor, ...]) -> Tensor:
    """Return the paper's loss by lightly's, which is the mean of minus both cosines."""
    first, second, first_target, second_target = outputs
    first_to_second = NegativeCosineSimilarity()(first, second_target)
    second_to_first = NegativeCosineSimilarity()(second, first_target)
    return 4 + 2 * (first_to_second + second_to_first)


def test_loss_and_gradient_are_lightlys() -> None:
    method, peer = byol(), byol()
    (loss,) = method.losses(method(batch()), batch()).values()
    expected = lightlys(peer(batch()))
    loss.backward()
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for mine, other in zip(method.parameters(), peer.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None) == (not mine.requires_grad)
        if mine.grad is not None:
            assert torch.allclose(mine.grad, other.grad, rtol=0, atol=1e-6)
            assert float(mine.grad.abs().max()) > 0


def test_each_view_predicts_the_target_of_the_other() -> None:
    method = byol().eval()  # so that an image's rows depend on it alone
    first, second, first_target, second_target = method(batch())
    views = batch()["views"]
    target = nn.Sequential(method.encoder, method.projector)  # the copy has not moved yet
    assert torch.allclose(first_target, target(views[:, 0]), atol=1e-6)
    assert torch.allclose(second_target, target(views[:, 1]), atol=1e-6)
    assert torch.allclose(second, method.predictor(target(views[:, 1])), atol=1e-6)
    (loss,) = method.losses((first, second, second.detach(), first.detach()), batch()).values()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    targets = (-second.detach(), -first.detach())
    (loss,) = method.losses((first, second, *targets), batch()).values()
    assert float(loss.detach()) == pytest.approx(8, abs=1e-5)


def test_the_copy_moves_as_the_closed_form_says_and_less_and_less() -> None:
    method, steps = byol(0.8), 6
    start = copy.deepcopy(list(method.copy.parameters()))
    with torch.no_grad():
        for parameter in [*method.encoder.parameters(), *method.projector.parameters()]:
            parameter.add_(1.0)  # and there it stays
    remaining = 1.0
    for step in range(steps):
        done = (step + 1) / steps
        remaining *= momentum_at(0.8, done)
        method.after_step(done)
    for now, first in zip(method.copy.parameters(), start, strict=True):
        assert torch.allclose(now, first + (1 - remaining), rtol=0, atol=1e-5)
    assert momentum_at(0.8, 0.0) == pytest.approx(0.8)
    assert momentum_at(0.8, 1.0) == 1.0
    assert momentum_at(0.8, 0.5) == pytest.approx(0.9)
    for step in range(101):  # lightly counts its last step as the end
        assert momentum_at(0.99, step / 100) == pytest.approx(cosine_schedule(step, 101, 0.99, 1.0))


def test_there_is_no_loss_of_chance() -> None:
    assert byol().chance_loss(BATCH) is None
    assert math.isclose(momentum_at(0.5, 1.0), 1.0)
