"""VICReg: its loss is lightly's in three weighted parts, whole and in chunks."""

import pytest
import torch
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor, nn

from cxrssl.ssl.chunks import backward_in_chunks, total
from cxrssl.ssl.heads import expander
from cxrssl.ssl.pretext import view_major
from cxrssl.ssl.vicreg import VICReg

BATCH, LENGTH = 6, 5
WEIGHTS = {"invariance": 25.0, "variance": 10.0, "covariance": 2.0}


def method() -> VICReg:
    torch.manual_seed(0)  # the same weights each time
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
    return VICReg(encoder, nn.Linear(8, LENGTH), **WEIGHTS).double().train()


def images() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"views": torch.randn(BATCH, 2, 3, 4, 4, generator=generator, dtype=torch.float64)}


def in_chunks(model: VICReg, chunk_images: int) -> dict[str, Tensor]:
    batch = images()
    return backward_in_chunks(
        lambda chunk: model({"views": batch["views"][chunk]}),
        lambda outputs, _chunk: model.losses(outputs, batch),
        couples=model.couples,
        num_images=BATCH,
        chunk_images=chunk_images,
        backward=lambda loss: loss.backward(),
        unsynced=torch.enable_grad,
        buffers=model.buffers(),
    )


@pytest.mark.parametrize("chunk_images", [BATCH, 4, 1])
def test_loss_and_gradient_are_lightlys_in_any_chunks(chunk_images: int) -> None:
    model, peer = method(), method()
    losses = in_chunks(model, chunk_images)
    both = peer.expander(peer.encoder(view_major(images()["views"])))
    expected = VICRegLoss(*WEIGHTS.values())(*both.chunk(2))
    expected.backward()
    assert float(total(losses)) == pytest.approx(float(expected.detach()), abs=1e-12)
    for mine, other in zip(model.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=0, atol=1e-12)
    assert model.chance_loss(BATCH) is None


def test_each_part_has_its_weight() -> None:
    model = method()
    outputs = model(images())
    for name in WEIGHTS:
        alone = VICRegLoss(*(WEIGHTS[key] * (key == name) for key in WEIGHTS))(*outputs)
        found = model.losses(outputs, images())[name]
        assert float(found.detach()) == pytest.approx(float(alone.detach()), abs=1e-12)
        assert float(alone.detach()) > 0


def test_the_expander_is_lightlys_but_for_a_bias_that_no_part_sees() -> None:
    head, peer = expander(8, hidden=32, num_outputs=16), VICRegProjectionHead(8, 32, 16)
    names = [name for name in peer.state_dict() if name != "layers.6.bias"]
    values = dict(zip(names, head.state_dict().values(), strict=True))
    peer.load_state_dict(values | {"layers.6.bias": torch.zeros(16)})
    rows = torch.randn(5, 8)
    assert torch.equal(head(rows), peer(rows))
