"""Weights of a vision transformer for patches of another size than they were trained with.

A pyramid needs maps at strides that are powers of two. DINOv2 has patches of 14 px, so its body is
built with 16 px, and two tensors are resampled as timm resamples them: the patch embedding by the
pseudo-inverse of resizing (FlexiViT, arXiv 2212.08013, section 3.4), positions bicubically. Only
weights with the patches that timm's architecture has are: others are of another network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor, nn

from cxrssl.core.errors import TransferError

_PATCHES = "patch_embed.proj.weight"
_POSITIONS = "pos_embed"


@dataclass(frozen=True)
class Resampled:
    """A tensor that was resampled.

    Attributes:
        tensor: Its key in the source.
        before: Its shape there.
        after: Its shape in the target.
    """

    tensor: str
    before: tuple[int, ...]
    after: tuple[int, ...]


def with_patches_of(
    target: nn.Module, state: Mapping[str, Tensor], *, source: str
) -> tuple[dict[str, Tensor], tuple[Resampled, ...]]:
    """Return weights with the patches and positions of a target, and what was resampled for that.

    Nothing is where the target has no patches, or the weights have not those of its architecture in
    timm: what is then of another shape is a fault for the audit.

    Args:
        target: A timm vision transformer, or what `features_only` makes of it.
        state: Tensors under timm's names, patch embedding [F, C, p, p], positions [1, N, F].
        source: Their origin, for messages.

    Raises:
        TransferError: If the positions are not [1, N, F], or those of no square grid.
    """
    network = getattr(target, "model", target)  # where `features_only` puts a transformer
    wanted = getattr(getattr(network, "patch_embed", None), "proj", None)
    found = state.get(_PATCHES)
    if not isinstance(wanted, nn.Conv2d) or found is None:
        return dict(state), ()
    sides = _architectures_patch(network)
    if found.shape != (*wanted.weight.shape[:2], *sides) or sides == wanted.weight.shape[-2:]:
        return dict(state), ()
    new = {_PATCHES: resample_patch_embed(found, list(wanted.weight.shape[-2:]))}
    positions = state.get(_POSITIONS)
    if positions is not None and getattr(network, "pos_embed", None) is not None:
        new[_POSITIONS] = _positions(network, positions, source=source)
    changed = tuple(
        Resampled(key, tuple(state[key].shape), tuple(tensor.shape)) for key, tensor in new.items()
    )
    return {**state, **new}, changed


def patch_px(model: nn.Module) -> int | None:
    """Return the side of a network's square patches in pixels, None for one without patches."""
    patches = getattr(model, "patch_embed", None)
    sides = getattr(patches, "patch_size", None)
    return int(sides[0]) if isinstance(sides, tuple) else None


def _architectures_patch(network: Any) -> tuple[int, ...]:  # noqa: ANN401 - a timm network
    """Return the sides of the patches that timm's architecture of a network has by itself."""
    with torch.device("meta"):
        model = timm.create_model(network.pretrained_cfg["architecture"], num_classes=0)
    return tuple(model.patch_embed.proj.weight.shape[-2:])


def _positions(network: nn.Module, positions: Tensor, *, source: str) -> Tensor:
    """Return positions [1, N, F] on the grid of a network, those of its tokens before the grid's.

    Raises:
        TransferError: If they are not [1, N, F], or those of no square grid.
    """
    if positions.ndim != 3 or len(positions) != 1:
        raise TransferError(
            f"{source}: {_POSITIONS} has the shape {tuple(positions.shape)}, not [1, N, F]. "
            "Nothing was loaded. Use weights of the recipe's architecture."
        )
    has_own = bool(getattr(network, "no_embed_class", False))
    num_prefix = 0 if has_own else int(network.num_prefix_tokens)  # type: ignore[arg-type]
    num_cells = positions.shape[1] - num_prefix
    side = round(max(0, num_cells) ** 0.5)
    if side * side != num_cells or not num_cells:
        tokens = "no token" if not num_prefix else f"{num_prefix} token(s)"
        raise TransferError(
            f"{source}: the {positions.shape[1]} positions of {_POSITIONS} are not those of "
            f"{tokens} and a square grid. Nothing was loaded. Use weights of the recipe's "
            "architecture: with registers (reg4) it has other positions than without."
        )
    resampled: Tensor = resample_abs_pos_embed(
        positions,
        new_size=list(network.patch_embed.grid_size),  # type: ignore[union-attr, arg-type]
        old_size=[side, side],
        num_prefix_tokens=num_prefix,
    )
    return resampled
