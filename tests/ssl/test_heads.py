"""Heads have the layers that their papers state, and that lightly's have."""

import pytest
import torch
from lightly.models.modules.heads import BYOLProjectionHead, MoCoProjectionHead
from torch import nn

from cxrssl.ssl.heads import normalised_head, projection_head


@pytest.mark.parametrize(
    ("num_layers", "batch_norm", "kinds"),
    [
        (2, False, [nn.Linear, nn.ReLU, nn.Linear]),
        (3, False, [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]),
        (2, True, [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]),
    ],
)
def test_the_head_has_the_stated_layers(
    num_layers: int, batch_norm: bool, kinds: list[type]
) -> None:
    head = projection_head(
        8, hidden=32, num_outputs=16, num_layers=num_layers, batch_norm=batch_norm
    )
    assert [type(layer) for layer in head] == kinds
    assert head(torch.randn(4, 8)).shape == (4, 16)
    assert (head[0].bias is None) == batch_norm


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def test_the_heads_of_moco_and_byol_are_lightlys() -> None:
    moco = projection_head(8, hidden=32, num_outputs=16, num_layers=2, batch_norm=False)
    assert shapes(moco) == shapes(MoCoProjectionHead(8, 32, 16))
    byol, peer = normalised_head(8, hidden=32, num_outputs=16), BYOLProjectionHead(8, 32, 16)
    assert shapes(byol) == shapes(peer)
    peer.load_state_dict(dict(zip(peer.state_dict(), byol.state_dict().values(), strict=True)))
    rows = torch.randn(5, 8)
    assert torch.equal(byol(rows), peer(rows))
