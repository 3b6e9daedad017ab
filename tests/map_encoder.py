"""A tiny encoder with a map, for the tests of dense methods."""

import torch
from torch import Tensor, nn


class MapEncoder(nn.Module):
    """Images [B, 3, 4h, 4w] -> map [B, C, h, w] -> features [B, C], as a timm encoder does it."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_features = num_channels
        self.body = nn.Sequential(
            nn.Conv2d(3, num_channels, 4, 4), nn.BatchNorm2d(num_channels), nn.ReLU()
        )

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the map."""
        values: Tensor = self.body(images)
        return values

    def forward_head(self, values: Tensor) -> Tensor:
        """Return the mean of a map."""
        return values.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return features."""
        return self.forward_head(self.forward_features(images))


def apart(copy: nn.Module) -> None:
    """Give a slow copy weights of its own, as it has after some steps."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
