"""Feature pyramids over timm backbones: an FPN, or ViTDet's where there is one map only.

One of the files that travel with a published detector: it imports timm and torchvision, no cxrssl.
Shapes: B images, C = 3 channels, H, W pixels; pyramid levels at strides 4, 8, 16, 32 and 64.
"""

import math
from collections import OrderedDict

import timm
import torch
from timm.layers import (
    BatchNormAct2d,
    GroupNorm,
    GroupNormAct,
    LayerNorm2d,
    freeze_batch_norm_2d,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

STRIDES = [4, 8, 16, 32]
_PLAIN_STRIDE = 16
_SIDE_MULTIPLE = 32
_MOST_GROUPS = 32


class TimmPyramid(nn.Module):
    """A timm body and a pyramid, under the names torchvision's own model has: `body`, `fpn`."""

    def __init__(self, body: nn.Module, *, out_channels: int, channels_last: bool) -> None:
        """Build the pyramid.

        Args:
            body: What `pyramid_body` returns.
            out_channels: Of every level.
            channels_last: Whether maps in use (not in training) lie in memory with a pixel's
                channels side by side, which a sparse RoIAlign reads without a transposition.
        """
        super().__init__()
        self.body = body
        self.channels_last = channels_last
        info = body.feature_info
        channels = list(info.channels())  # type: ignore[union-attr, operator]
        plain = len(channels) == 1
        self.fpn = (
            SimplePyramid(channels[0], out_channels)
            if plain
            else FeaturePyramidNetwork(channels, out_channels, extra_blocks=LastLevelMaxPool())
        )
        self.out_channels = out_channels
        self._turned = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return maps [B, out_channels, h, w] at strides 4 to 64 of images [B, C, H, W]."""
        if self.channels_last and not self.training:
            images = images.contiguous(memory_format=torch.channels_last)
        maps = self.body(images)
        if self._turned:  # Swin's maps are [B, h, w, c]
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        pyramid: OrderedDict[str, Tensor] = self.fpn(
            OrderedDict((str(level), x) for level, x in enumerate(maps))
        )
        # In lower precision torchvision's anchors and boxes, which take the maps' type, would be
        # rounded to whole pixels.
        return OrderedDict((name, level.float()) for name, level in pyramid.items())


class SimplePyramid(nn.Module):
    """Five levels from the one map of a plain vision transformer.

    Source: ViTDet, arXiv 2203.16527, section 3 and appendix A.1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        self.scales = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(in_channels, half, 2, 2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, 2),
                ),
                nn.ConvTranspose2d(in_channels, half, 2, 2),
                nn.Identity(),
                nn.MaxPool2d(2, 2),
            ]
        )
        self.outputs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for width in (quarter, half, in_channels, in_channels)
        )

    def forward(self, maps: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Return levels `0` to `3` and `pool` of a single map [B, C, H / 16, W / 16]."""
        (x,) = maps.values()
        levels = zip(self.scales, self.outputs, strict=True)
        found = OrderedDict((str(i), out(scale(x))) for i, (scale, out) in enumerate(levels))
        found["pool"] = functional.max_pool2d(found["3"], 1, 2)
        return found


def pyramid_body(architecture: str, *, size_px: int) -> nn.Module:
    """Return a timm backbone with random weights: images -> its last four maps, or a ViT's last.

    Args:
        architecture: timm's name.
        size_px: Longer side of the images; only backbones of a fixed size use it.

    Raises:
        ValueError: If it has neither maps at strides 4, 8, 16, 32 nor one at 16.
    """
    strides = _strides(architecture)
    if strides[-4:] == STRIDES:
        options: dict[str, object] = {"out_indices": (-4, -3, -2, -1)}
        if timm.get_pretrained_cfg(architecture).fixed_input_size:
            # Images are padded to a multiple of the coarsest stride.
            options["img_size"] = math.ceil(size_px / _SIDE_MULTIPLE) * _SIDE_MULTIPLE
    elif set(strides) == {_PLAIN_STRIDE}:
        # Positions stay as they were trained and are resampled to each image.
        options = {"out_indices": (-1,), "dynamic_img_size": True}
    else:
        raise ValueError(
            f"{architecture} has feature maps at strides {strides}; a pyramid needs 4, 8, 16, 32, "
            "or a plain vision transformer's 16"
        )
    try:
        body: nn.Module = timm.create_model(architecture, features_only=True, **options)
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{architecture} can't carry a pyramid: {error}") from error
    return body


def _strides(architecture: str) -> list[int]:
    """Return the strides of all maps that timm offers, without memory for any weight."""
    try:
        with torch.device("meta"):
            probe = timm.create_model(architecture, features_only=True)
    except (TypeError, RuntimeError, AssertionError, AttributeError) as error:
        raise ValueError(f"{architecture} can't carry a pyramid: {error}") from error
    return [int(stride) for stride in probe.feature_info.reduction()]


def stage_parameters(encoder: nn.Module, num_stages: int) -> set[str]:
    """Return the names of the parameters of a timm model's first stages; 1 is its stem.

    Raises:
        ValueError: If it has no more stages than that, or timm does not know them.
    """
    if num_stages == 0:
        return set()
    if not hasattr(encoder, "group_matcher"):
        raise ValueError("timm knows no stages of this backbone. Set model.frozen_stages=0.")
    groups = timm.models.group_parameters(encoder, encoder.group_matcher(coarse=True))  # type: ignore[operator]
    if num_stages >= len(groups):
        raise ValueError(
            f"frozen_stages is {num_stages}, and this backbone has {len(groups)} stages with its "
            "stem. Leave at least one to be trained."
        )
    return {name for stage in range(num_stages) for name in groups[stage]}


def body_names(name: str) -> tuple[str, str, str]:
    """Return what an encoder's tensor may be called in a body: as it is, or as timm wraps it.

    `features_only` renames `stages.0.x` to `stages_0.x`, and puts a transformer under `model.`
    """
    return name, name.replace(".", "_", 1), f"model.{name}"


def freeze_stages(body: nn.Module, architecture: str, num_stages: int) -> None:
    """Keep a body's first stages as they are, the statistics of their norms with them.

    Raises:
        ValueError: If it has no more stages than that, or timm does not know them.
    """
    with torch.device("meta"):
        encoder = timm.create_model(architecture, num_classes=0)
    wanted = stage_parameters(encoder, num_stages)
    frozen = {place for name in wanted for place in body_names(name)}
    for name, parameter in body.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    for name, module in list(body.named_modules()):
        if isinstance(module, _BatchNorm) and f"{name}.weight" in frozen:
            _replace(body, name, freeze_batch_norm_2d(module))


def freeze_norms(body: nn.Module) -> None:
    """Turn every BatchNorm of a body into one that keeps its statistics and scale."""
    freeze_batch_norm_2d(body)


def use_group_norms(body: nn.Module) -> None:
    """Put a GroupNorm of at most 32 groups in the place of every BatchNorm."""
    for name, module in list(body.named_modules()):
        if isinstance(module, _BatchNorm):
            _replace(body, name, _group_norm(module))


def set_norm_eps(body: nn.Module, eps: float) -> None:
    """Set what keeps a BatchNorm, frozen or not, from dividing by zero."""
    for module in body.modules():
        if hasattr(module, "running_var") and hasattr(module, "eps"):
            module.eps = eps  # type: ignore[assignment]


def _group_norm(norm: nn.Module) -> nn.Module:
    num_channels = int(norm.num_features)  # type: ignore[arg-type]
    num_groups = math.gcd(_MOST_GROUPS, num_channels)
    if not isinstance(norm, BatchNormAct2d):
        return GroupNorm(num_channels, num_groups=num_groups)  # type: ignore[no-any-return]
    grouped = GroupNormAct(num_channels, num_groups=num_groups)
    grouped.drop, grouped.act = norm.drop, norm.act
    return grouped  # type: ignore[no-any-return]


def _replace(body: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(body.get_submodule(parent), last, module)
