"""SimSiam: its steps are the paper's algorithm with lightly's loss and heads."""

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn

from cxrssl.ssl.heads import normalised_head, projection_head
from cxrssl.ssl.simsiam import SimSiam

BATCH, FEATURES, LENGTH = 6, 8, 5


def simsiam() -> SimSiam:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, FEATURES), nn.BatchNorm1d(8), nn.ReLU())
    return SimSiam(encoder, nn.Linear(FEATURES, LENGTH), nn.Linear(LENGTH, LENGTH)).train()


def batch(number: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"views": torch.randn(BATCH, 2, 3, 4, 4, generator=generator)}


def algorithm_1(method: SimSiam, views: Tensor) -> Tensor:
    """Return the paper's loss by lightly's, of the parts of a method, one after the other."""
    both = torch.cat([views[:, 0], views[:, 1]])  # the norms see both views at once
    z1, z2 = method.projector(method.encoder(both)).chunk(2)
    p1, p2 = method.predictor(z1), method.predictor(z2)
    similarity = NegativeCosineSimilarity()
    return similarity(p1, z2.detach()) / 2 + similarity(p2, z1.detach()) / 2


def test_steps_are_those_of_the_algorithm_with_lightlys_loss() -> None:
    method, peer = simsiam(), simsiam()
    ours, theirs = (torch.optim.SGD(model.parameters(), lr=0.1) for model in (method, peer))
    for number in range(3):
        images = batch(number)
        (loss,) = method.losses(method(images), images).values()
        expected = algorithm_1(peer, images["views"])
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
        for optimizer, value in ((ours, loss), (theirs, expected)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    for mine, other in zip(method.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-5)
        assert float(mine.grad.abs().max()) > 0


def test_a_target_gets_no_gradient_and_a_prediction_does() -> None:
    outputs = [rows.detach().requires_grad_() for rows in simsiam()(batch())]
    (loss,) = simsiam().losses(tuple(outputs), batch()).values()
    loss.backward()
    first, second, *targets = outputs
    assert min(float(rows.grad.abs().max()) for rows in (first, second)) > 0
    assert [target.grad for target in targets] == [None, None]


def test_the_loss_is_from_minus_one_where_views_agree_to_one() -> None:
    first, second, _, _ = simsiam()(batch())
    method = simsiam()
    assert method.chance_loss(BATCH) is None
    for sign, expected in ((1, -1.0), (-1, 1.0)):
        outputs = first, second, sign * second, sign * first
        (loss,) = method.losses(outputs, batch()).values()
        assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)


def test_the_heads_are_lightlys() -> None:
    projector = projection_head(
        8, hidden=32, num_outputs=16, num_layers=3, batch_norm=True, scales_outputs=False
    )
    predictor = normalised_head(16, hidden=4, num_outputs=16)
    peers = SimSiamProjectionHead(8, 32, 16), SimSiamPredictionHead(16, 4, 16)
    rows = torch.randn(5, 8)
    for head, peer in zip((projector, predictor), peers, strict=True):
        values = head.state_dict().values()
        peer.load_state_dict(dict(zip(peer.state_dict(), values, strict=True)))
        assert torch.equal(head(rows), peer(rows))
        rows = head(rows)
