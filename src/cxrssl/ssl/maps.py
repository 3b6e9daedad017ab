"""An encoder's last map, whose places a dense method learns from, beside its pooled features.

An encoder must offer `forward_features`, images -> map, and `forward_head`, map -> features, which
one after the other are its own `forward`, as timm's do. Its map may be [B, C, h, w], [B, h, w, C]
if `output_fmt` says NHWC, or tokens [B, P + hw, C] after `num_prefix_tokens`, P.

Shapes: B images, F features, C channels of the map, h and w its rows and columns, N = hw places.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def features_and_map(encoder: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return an encoder's features [B, F] of images, and its last map [B, C, h, w].

    Raises:
        ValueError: If tokens are no square grid, or the map has another form.
    """
    timm_encoder: Any = encoder
    unpooled = timm_encoder.forward_features(images)
    return timm_encoder.forward_head(unpooled), _as_map(encoder, unpooled)


def as_rows(values: Tensor) -> Tensor:
    """Return a map [B, C, h, w] as a row for each place, [B, N, C], line by line."""
    return values.flatten(2).transpose(1, 2)


def map_side(encoder: nn.Module, size_px: int) -> int:
    """Return the side of the map that an encoder makes of a square image; it stays as it is.

    Args:
        encoder: An encoder that is not trained yet.
        size_px: Side of the image.

    Raises:
        ValueError: If it offers no map, one that is not square, or one that is not what its
            features are made of.
    """
    if not all(hasattr(encoder, name) for name in ("forward_features", "forward_head")):
        raise ValueError("it has no forward_features and forward_head")
    was_training, parameter = encoder.training, next(encoder.parameters())
    encoder.eval()  # so that BatchNorm takes no statistics of it
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        image = torch.randn((1, 3, size_px, size_px)).to(parameter)
        features, values = features_and_map(encoder, image)
        expected = encoder(image)
    encoder.train(was_training)
    if features.shape != expected.shape or not torch.allclose(features, expected, atol=1e-4):
        raise ValueError("its features are not made of its last map alone")
    _, channels, rows, columns = values.shape
    if channels != encoder.num_features:
        raise ValueError(f"its map has {channels} channels, not {encoder.num_features}")
    if rows != columns:
        raise ValueError(f"its map of a square image is {rows} x {columns}")
    return rows


def _as_map(encoder: nn.Module, unpooled: object) -> Tensor:
    """Return what `forward_features` gives as [B, C, h, w]."""
    if isinstance(unpooled, Tensor) and unpooled.ndim == 4:
        is_last = getattr(encoder, "output_fmt", "NCHW") == "NHWC"
        return unpooled.permute(0, 3, 1, 2) if is_last else unpooled
    if isinstance(unpooled, Tensor) and unpooled.ndim == 3:
        prefix: Any = getattr(encoder, "num_prefix_tokens", 0)
        tokens = unpooled[:, prefix:]
        side = math.isqrt(tokens.shape[1])
        if side * side == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
        raise ValueError(f"its last map is {tokens.shape[1]} tokens, no square grid")
    raise ValueError("its last map is none of [B, C, h, w], [B, h, w, C] and [B, tokens, C]")
