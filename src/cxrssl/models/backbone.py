"""The door to timm: encoders for pretraining, bodies for a pyramid, timm's file format.

A saved backbone is a folder that plain timm opens, without cxrssl:
`timm.create_model("local-dir:RUN/backbone", pretrained=True, features_only=True)`.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from safetensors.torch import load_file
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import Tensor, nn

from cxrssl.core.errors import TransferError
from cxrssl.core.files import write_json
from cxrssl.core.images import Intensity

NUM_CHANNELS = 3
Model = TypeVar("Model", bound=nn.Module)


def encoder(architecture: str) -> nn.Module:
    """Return a timm backbone with random weights: images [B, 3, H, W] -> features [B, F].

    Raises:
        TransferError: If timm has no architecture of that name.
    """
    _check_known(architecture)
    model: nn.Module = timm.create_model(architecture, num_classes=0, in_chans=NUM_CHANNELS)
    return model


def num_features(model: nn.Module) -> int:
    """Return F, the length of an encoder's features."""
    features: Any = getattr(model, "head_hidden_size", None) or model.num_features
    return int(features)


def pyramid_body(architecture: str) -> nn.Module:
    """Return a timm backbone with random weights: images -> its last four feature maps.

    Raises:
        TransferError: If timm has no such architecture, or it has no four maps at strides 4 to 32.
    """
    _check_known(architecture)
    try:
        body: nn.Module = timm.create_model(
            architecture,
            features_only=True,
            out_indices=(-4, -3, -2, -1),
            in_chans=NUM_CHANNELS,
        )
    except (RuntimeError, AssertionError, IndexError) as error:
        raise TransferError(f"{architecture} can't carry a pyramid: {error}") from error
    strides = list(body.feature_info.reduction())  # type: ignore[union-attr, operator]
    if strides != [4, 8, 16, 32]:
        raise TransferError(
            f"{architecture} has feature maps at strides {strides}; a pyramid needs 4, 8, 16, 32."
        )
    return body


def body_channels(body: nn.Module) -> list[int]:
    """Return the channels of the maps that `pyramid_body` gives, from fine to coarse."""
    return list(body.feature_info.channels())  # type: ignore[union-attr, operator]


def freeze_batch_norm(module: nn.Module) -> None:
    """Turn every BatchNorm inside `module` into one that keeps its statistics and scale."""
    freeze_batch_norm_2d(module)


def freeze_stages(model: nn.Module, num_stages: int) -> None:
    """Keep the parameters of an encoder's first stages as they are: 1 is the stem, 2 adds a stage.

    A BatchNorm among them still normalises with the batch while training.

    Raises:
        TransferError: If it has fewer stages, or timm does not know its stages.
    """
    if num_stages == 0:
        return
    if not hasattr(model, "group_matcher"):
        raise TransferError("timm knows no stages of this backbone. Set model.frozen_stages=0.")
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=True))  # type: ignore[operator]
    if num_stages >= len(groups):
        raise TransferError(
            f"frozen_stages is {num_stages}, and this backbone has {len(groups)} stages with its "
            "stem. Leave at least one to be trained."
        )
    frozen = {name for stage in range(num_stages) for name in groups[stage]}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def sync_batch_norm(model: Model) -> Model:
    """Return the model with BatchNorms that normalise over all processes; needs GPUs to train."""
    synced: Model = convert_sync_batchnorm(model)
    return synced


def imagenet_weights(architecture: str) -> dict[str, Tensor]:
    """Return timm's ImageNet weights of an architecture, from its cache or the Hub.

    Raises:
        TransferError: If timm has none, or they are neither in the cache nor to be fetched.
    """
    _check_known(architecture)
    try:
        model = timm.create_model(architecture, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        raise TransferError(
            f"ImageNet weights of {architecture} can't be had: {reason}. Run once with a network, "
            "so that they lie in the Hugging Face cache, or take `start: random`."
        ) from error
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def weights_tag(architecture: str) -> str:
    """Return the name of the weights that timm has for an architecture, such as `a1_in1k`."""
    return str(timm.get_pretrained_cfg(architecture).tag)


def save_backbone(
    model: nn.Module, folder: Path, *, tag: str, size_px: int, intensity: Intensity
) -> None:
    """Write an encoder in timm's `local-dir:` format, with the intensity that it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"tag": tag, "license": "other", "origin_url": "", "paper_ids": [], "hf_hub_id": ""}
    data = {
        "input_size": (NUM_CHANNELS, size_px, size_px),
        "mean": (intensity.mean,) * NUM_CHANNELS,
        "std": (intensity.std,) * NUM_CHANNELS,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    }
    # safetensors takes the plain layout only; training may have left another.
    model.to(memory_format=torch.contiguous_format)
    timm.models.save_for_hf(
        model,
        folder,
        safe_serialization=True,
        data_config=data,
        model_config={"pretrained_cfg": own, "cxrssl": {"equalize": intensity.equalize}},
    )
    config = json.loads((folder / "config.json").read_text())
    # transformers' timm wrapper passes num_classes itself and dies of a second one.
    config.get("model_args", {}).pop("num_classes", None)
    write_json(folder / "config.json", config)


def load_backbone(folder: Path) -> tuple[str, dict[str, Tensor], Intensity | None]:
    """Read a backbone folder: its architecture, its tensors, and the intensity it was trained on.

    The intensity is None for a folder that cxrssl did not write.

    Raises:
        TransferError: If the folder is not in timm's format.
    """
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    missing = [path.name for path in (config_file, weights_file) if not path.is_file()]
    if missing:
        raise TransferError(
            f"{folder} is no backbone: {' and '.join(missing)} missing. Expected the backbone/ "
            "folder of a finished `cxrssl pretrain` run."
        )
    config: dict[str, Any] = json.loads(config_file.read_text())
    own, data = config.get("cxrssl"), config["pretrained_cfg"]
    intensity = None
    if own is not None:
        intensity = Intensity(bool(own["equalize"]), float(data["mean"][0]), float(data["std"][0]))
    return str(config["architecture"]), load_file(weights_file), intensity


def _check_known(architecture: str) -> None:
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture[:6]}*")[:5]
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise TransferError(f"timm has no model called {architecture!r}.{hint}")
