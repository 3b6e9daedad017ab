"""An encoder's map is what timm itself gives as the last of its maps, whatever its layout."""

import pytest
import timm
import torch
from torch import Tensor, nn

from cxrssl.ssl.maps import as_rows, features_and_map, map_side
from map_encoder import MapEncoder


@pytest.mark.parametrize(
    ("architecture", "form"),
    [
        ("test_resnet", (2, 96, 5, 5)),
        ("test_convnext", (2, 64, 5, 5)),
        ("test_mambaout", (2, 5, 5, 64)),  # channels last
        ("test_vit", (2, 101, 64)),  # a token before those of the map
        ("levit_128s", (2, 16, 384)),  # none
    ],
)
def test_features_and_map_are_timms(architecture: str, form: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0).eval()
    size_px = model.pretrained_cfg["input_size"][-1]
    images = torch.randn(2, 3, size_px, size_px)
    with torch.no_grad():
        assert model.forward_features(images).shape == form
        features, values = features_and_map(model, images)
        assert torch.equal(features, model(images))
        (expected,) = model.forward_intermediates(
            images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
    assert torch.allclose(values, expected, atol=1e-6)
    assert map_side(model, size_px) == values.shape[2]
    rows = as_rows(values)
    assert torch.equal(rows[1, 1 * values.shape[3] + 2], values[1, :, 1, 2])


def test_measuring_a_map_changes_nothing() -> None:
    encoder = MapEncoder(4).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(3)
    assert map_side(encoder, 20) == 5
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


class Doubled(MapEncoder):
    """Its features are not those of its map."""

    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class Widened(MapEncoder):
    """Its map has channels that it does not tell of."""

    def forward_features(self, images: Tensor) -> Tensor:
        return super().forward_features(images).repeat(1, 2, 1, 1)


class Oblong(MapEncoder):
    def forward_features(self, images: Tensor) -> Tensor:
        return super().forward_features(images)[:, :, 1:]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(1200, 3)), "no forward_features and forward_head"),
        (Doubled(4), "its features are not made of its last map alone"),
        (Widened(4), "its map has 8 channels, not 4"),
        (Oblong(4), "its map of a square image is 4 x 5"),
    ],
)
def test_what_is_no_map_is_refused(encoder: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_side(encoder, 20)
