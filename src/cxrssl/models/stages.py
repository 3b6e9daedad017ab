"""Stages and layers of a detector's body, as timm groups the tensors of its architecture.

Stages are counted as `frozen_stages` counts them: 1 is the stem, 2 the first stage after it.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import timm
import torch
from torch import Tensor, nn

from cxrssl.core.errors import TransferError
from cxrssl.core.printable import printable
from cxrssl.models.published.pyramid_cxr_rcnn import body_names, pyramid_body

_ANY_PX = 224  # of a body of a fixed size; it changes no number but that of positions
Value = TypeVar("Value", int, float)
_TRUNK = ("blocks", "stages", "layers")
# Tables of Swin's, which older files hold and today's timm computes.
_NOT_TRAINED = ("attn_mask", "relative_position_index", "relative_coords_table")


def stages_of(body: nn.Module, architecture: str) -> dict[str, int]:
    """Return the stage of every tensor of a body, from 1.

    Raises:
        TransferError: If timm does not know the stages of the architecture.
    """
    encoder = _encoder(architecture, num_classes=0)
    groups = _groups(encoder, architecture, coarse=True)
    stage, stages = 0, dict[str, int]()
    for name in encoder.state_dict():
        stage = groups.get(name, stage)  # statistics belong to the parameter before them
        stages[name] = stage + 1
    return _of_body(stages, body.state_dict(), architecture)


def layer_lr_scales(body: nn.Module, architecture: str, decay: float) -> dict[str, float]:
    """Return the factor of the learning rate of every parameter of a body.

    The last layer has `decay`, the one before it `decay` squared, and so on: the classifier, which
    would have 1, is where a detector has its pyramid and heads. Layers are timm's, mostly blocks.

    Source: BEiT, arXiv 2106.08254, as timm's `param_groups_layer_decay` has it.

    Raises:
        TransferError: If timm does not know the layers of the architecture.
    """
    encoder = _encoder(architecture, num_classes=1)
    layers = _groups(encoder, architecture, coarse=False)
    last = max(layers.values())
    scales = {name: decay ** (last - layer) for name, layer in layers.items()}
    return _of_body(scales, dict(body.named_parameters()), architecture)


def body_parameters(architectures: Iterable[str]) -> dict[str, int]:
    """Return how many parameters the body of a detector has, by architecture.

    None are counted where there is one architecture: there is nothing to compare.

    Raises:
        ValueError: If one can't carry a pyramid.
    """
    names = sorted(set(architectures))
    if len(names) < 2:
        return {}
    with torch.device("meta"):  # without memory, and without random numbers
        bodies = {name: pyramid_body(name, size_px=_ANY_PX) for name in names}
    return {name: sum(p.numel() for p in body.parameters()) for name, body in bodies.items()}


def check_same_network(architecture: str, state: Mapping[str, Tensor], *, source: str) -> None:
    """Check that weights have nothing inside a network that timm's architecture lacks.

    A deeper network, or one with scales that this one has not, would else arrive in parts.

    Raises:
        TransferError: If they have.
    """
    with torch.device("meta"):
        known = timm.create_model(architecture).state_dict()
    extra = sorted(
        key
        for key in state
        if key.split(".")[0] in _TRUNK and key not in known and not key.endswith(_NOT_TRAINED)
    )
    if extra:
        raise TransferError(
            f"{source} has {len(extra)} tensors inside the network that {architecture} lacks, such "
            f"as {printable(extra[0])[:200]}: they are of another network. Nothing was loaded. "
            "Name the architecture of the weights as the recipe's backbone."
        )


def _encoder(architecture: str, *, num_classes: int) -> nn.Module:
    with torch.device("meta"):  # without memory, and without random numbers
        encoder: nn.Module = timm.create_model(architecture, num_classes=num_classes)
    return encoder


def _groups(encoder: nn.Module, architecture: str, *, coarse: bool) -> dict[str, int]:
    """Return the number of the group of each parameter, from 0."""
    if not hasattr(encoder, "group_matcher"):
        raise TransferError(
            f"timm knows no stages of {architecture}. Set init.keep_stages and optim.layer_decay "
            "to null."
        )
    matcher = encoder.group_matcher(coarse=coarse)  # type: ignore[operator]
    groups: dict[str, int] = timm.models.group_parameters(encoder, matcher, reverse=True)
    return groups


def _of_body(
    values: Mapping[str, Value], names: Iterable[str], architecture: str
) -> dict[str, Value]:
    """Return the values of an encoder's tensors under the names that they have in a body."""
    places = {place: value for name, value in values.items() for place in body_names(name)}
    unknown = [name for name in names if name not in places]
    if unknown:
        raise TransferError(
            f"timm's {architecture} has no {unknown[0]}, which is a tensor of the body: its stage "
            "is not known. Set init.keep_stages and optim.layer_decay to null."
        )
    return {name: places[name] for name in names}
