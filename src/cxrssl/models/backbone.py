"""The door to timm: encoders for pretraining, backbones for a pyramid, timm's file format.

A saved backbone is a folder that plain timm opens, without cxrssl:
`timm.create_model("local-dir:RUN/backbone", pretrained=True, features_only=True)`.
"""

import difflib
import inspect
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d, unfreeze_batch_norm_2d
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from cxrssl.core.errors import TransferError
from cxrssl.core.files import write_json
from cxrssl.core.images import Fit, Intensity
from cxrssl.core.printable import printable
from cxrssl.models.published import pyramid_cxr_rcnn as published
from cxrssl.models.ranges import LEAST_STD, MOST_STD
from cxrssl.models.untrusted_config import read_mapping

NUM_CHANNELS = 3
SIZE_FAULTS = (
    ArithmeticError,
    AssertionError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors of timm's models where they can't take a size."""
_NAME = re.compile(r"\w+(\.\w+)?", re.ASCII)
Model = TypeVar("Model", bound=nn.Module)


def encoder(architecture: str, *, sizes_px: Collection[int] = ()) -> nn.Module:
    """Return a timm backbone with random weights: images [B, 3, H, W] -> features [B, F].

    Args:
        architecture: timm's name.
        sizes_px: Sides of the images that it will see, empty if not known. A backbone that timm
            builds for one size is built for these, if it can be.

    Raises:
        TransferError: If timm has no architecture of that name.
    """
    check_known(architecture)
    model: nn.Module = timm.create_model(
        architecture,
        num_classes=0,
        in_chans=NUM_CHANNELS,
        **_size_options(architecture, set(sizes_px)),
    )
    return model


def _size_options(architecture: str, sizes_px: set[int]) -> dict[str, int | bool]:
    """Return timm's options for image sizes; none where its own size is all that it sees."""
    config = timm.get_pretrained_cfg(architecture)
    if not config.fixed_input_size or sizes_px <= {config.input_size[-1]}:
        return {}
    with torch.device("meta"):  # without memory, and without random numbers
        probe = timm.create_model(architecture, num_classes=0)
    accepted = inspect.signature(type(probe).__init__).parameters
    if "dynamic_img_size" in accepted:
        # Tensors keep their shapes, so published weights fit, and so does a detector's body.
        return {"dynamic_img_size": True}
    if "img_size" in accepted and len(sizes_px) == 1:
        return {"img_size": min(sizes_px)}
    return {}


def check_sizes(model: nn.Module, sizes_px: Collection[int], *, saved_px: int) -> None:
    """Try an encoder that is not trained yet on a blank image of each size; it stays as it is.

    Args:
        model: The encoder.
        sizes_px: Sides of the images that it will see.
        saved_px: The size that `save_backbone` will be given.

    Raises:
        SIZE_FAULTS: If it can't take a size; other errors of the model pass through.
    """
    # Some compute at any size, and timm saves them for one alone.
    timm.data.resolve_input_data_config(
        model, args={"input_size": (NUM_CHANNELS, saved_px, saved_px)}
    )
    was_training, parameter = model.training, next(model.parameters())
    model.eval()  # so that BatchNorm takes no statistics of it
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for size_px in sizes_px:
            model(parameter.new_zeros((1, NUM_CHANNELS, size_px, size_px)))
    model.train(was_training)


def num_features(model: nn.Module) -> int:
    """Return F, the length of an encoder's features."""
    features: Any = getattr(model, "head_hidden_size", None) or model.num_features
    return int(features)


def num_map_channels(model: nn.Module) -> int:
    """Return C, the channels of an encoder's last map, which may differ from F."""
    channels: Any = model.num_features
    return int(channels)


def pyramid_body(architecture: str, *, size_px: int) -> nn.Module:
    """Return a timm backbone with random weights that gives the maps of a pyramid.

    See `models.published.pyramid_cxr_rcnn`.

    Raises:
        TransferError: If timm has no such architecture, or it has no such maps.
    """
    check_known(architecture)
    try:
        return published.pyramid_body(architecture, size_px=size_px)
    except ValueError as error:
        raise TransferError(f"{error}.") from error


def body_maps(body: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return a body's maps [B, C, h, w] of images [B, 3, H, W], by timm's names of the modules."""
    maps: list[Tensor] = body(images)
    if str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC"):  # Swin's maps
        maps = [values.permute(0, 3, 1, 2) for values in maps]
    names: list[str] = body.feature_info.module_name()  # type: ignore[union-attr, operator]
    return dict(zip(names, maps, strict=True))


def freeze_stages(model: nn.Module, num_stages: int) -> None:
    """Keep the parameters of an encoder's first stages as they are: 1 is the stem, 2 adds a stage.

    A BatchNorm among them still normalises with the batch while training.

    Raises:
        TransferError: If it has fewer stages, or timm does not know its stages.
    """
    try:
        frozen = published.stage_parameters(model, num_stages)
    except ValueError as error:
        raise TransferError(str(error)) from error
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def sync_batch_norm(model: Model) -> Model:
    """Return the model with BatchNorms that normalise over all processes; needs GPUs to train."""
    synced: Model = convert_sync_batchnorm(model)
    return synced


def recalibrate(body: nn.Module, images: Iterable[Tensor]) -> None:
    """Give every frozen BatchNorm the mean and variance that the images have at its place.

    A pretrained backbone's statistics are of crops at another scale; frozen, they would stay wrong.

    Source: PreciseBN, arXiv 2105.07576, section 3: the plain average over all batches.

    Args:
        body: A backbone of frozen norms.
        images: Batches [B, C, H, W], as they reach the body.
    """
    was_training = body.training
    trained = {name: parameter.requires_grad for name, parameter in body.named_parameters()}
    unfreeze_batch_norm_2d(body)
    with torch.no_grad():
        update_bn(images, body)
    freeze_batch_norm_2d(body)
    body.train(was_training)
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(trained[name])


def imagenet_weights(architecture: str) -> tuple[dict[str, Tensor], str]:
    """Return timm's ImageNet weights, from its cache or the Hub, and their name in timm.

    Raises:
        TransferError: If timm has none, or they are neither in the cache nor to be fetched.
    """
    check_known(architecture)
    try:
        model = timm.create_model(architecture, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        repository = timm.get_pretrained_cfg(architecture).hf_hub_id
        raise TransferError(
            f"ImageNet weights of {architecture} can't be had: {reason}. Where there is a network, "
            f"call `cxrssl weights imagenet {architecture} --out FILE.safetensors` (it fetches "
            f"{repository}) and name the file in the recipe (body.weights in pretrain, "
            f"init.weights in finetune), or copy the Hugging Face cache, {HF_HUB_CACHE}."
        ) from error
    weights: dict[str, Tensor] = model.state_dict()
    return weights, f"timm {architecture}.{timm.get_pretrained_cfg(architecture).tag}"


@dataclass(frozen=True)
class TimmWeights:
    """Where timm has weights of an architecture.

    Attributes:
        architecture: timm's name, without a tag.
        tag: Which weights of it, such as `a1_in1k`.
        repository: Repository of the Hub with their `model.safetensors`; None if there is none.
        url: A file NAME-HASH.pth elsewhere, "" if there is none.
        licence: The licence that timm names, "" if none.
    """

    architecture: str
    tag: str
    repository: str | None
    url: str
    licence: str


def timm_weights(architecture: str) -> TimmWeights:
    """Return where timm has its weights of an architecture, or of `ARCHITECTURE.TAG`.

    Raises:
        TransferError: If timm has no such architecture, no such weights, or none at all.
    """
    check_known(architecture)
    name, _, tag = architecture.partition(".")
    tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{name}.*")]
    if not tags:
        raise TransferError(
            f"timm has no weights of {name}, only the architecture. Take another, or start: random."
        )
    if tag and tag not in tags:
        raise TransferError(f"timm has no weights {tag!r} of {name}; it has {', '.join(tags)}.")
    config = timm.get_pretrained_cfg(architecture)
    # Some links are of other formats, such as JAX's .npz.
    url = config.url or ""
    url = url if url.endswith(".pth") else ""
    return TimmWeights(name, config.tag, config.hf_hub_id or None, url, config.license or "")


def timm_state(architecture: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights as timm's model of today names them, head and all.

    Args:
        architecture: timm's name, with a tag or without.
        state: Content of a file that timm publishes for it; timm knows its older forms.

    Raises:
        TransferError: If they are not all of its tensors.
    """
    try:
        model = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)}
        )
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TransferError(f"these are not timm's weights of {architecture}: {reason}") from error
    weights: dict[str, Tensor] = model.state_dict()
    return weights


def state_in_order(architecture: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under timm's names that have other names, in timm's order and shapes.

    Raises:
        TransferError: If a tensor has another shape, or there are more or fewer.
    """
    with torch.device("meta"):
        expected = timm.create_model(architecture).state_dict()
    shapes = [tuple(tensor.shape) for tensor in expected.values()]
    found = [tuple(tensor.shape) for tensor in state.values()]
    if shapes != found:
        place = next((i for i, (a, b) in enumerate(zip(shapes, found, strict=False)) if a != b), -1)
        at = f"; {[*expected][place]} is {shapes[place]}, not {found[place]}" if place >= 0 else ""
        raise TransferError(
            f"these {len(found)} tensors are not the {len(shapes)} of timm's {architecture}, shape "
            f"by shape{at}."
        )
    return dict(zip(expected, state.values(), strict=True))


def save_backbone(
    model: nn.Module,
    folder: Path,
    *,
    tag: str,
    size_px: int,
    intensity: Intensity,
    fit: Fit = "squash",
) -> None:
    """Write an encoder in timm's `local-dir:` format, with the grey levels that it was trained on.

    What timm's own preprocessing can say of them, size, fit, mean and std, it says; equalisation it
    does not know.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = {"tag": tag, "license": "other", "origin_url": "", "paper_ids": [], "hf_hub_id": ""}
    data = {
        "input_size": (NUM_CHANNELS, size_px, size_px),
        "mean": (intensity.mean,) * NUM_CHANNELS,
        "std": (intensity.std,) * NUM_CHANNELS,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash" if fit == "squash" else "border",
    }
    # safetensors takes the plain layout only; training may have left another.
    model.to(memory_format=torch.contiguous_format)
    timm.models.save_for_hf(
        model,
        folder,
        safe_serialization=True,
        data_config=data,
        model_config={"pretrained_cfg": source, "cxrssl": {"equalize": intensity.equalize}},
    )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # transformers' timm wrapper passes num_classes itself and dies of a second one.
    config.get("model_args", {}).pop("num_classes", None)
    write_json(folder / "config.json", config)


def load_backbone(
    folder: Path, *, source: str | None = None
) -> tuple[str, dict[str, Tensor], Intensity | None]:
    """Read a backbone folder: its architecture, its tensors, and the intensity it was trained on.

    The intensity is None for a folder that cxrssl did not write.

    Args:
        folder: In timm's format; it may come from anyone.
        source: Its name in messages, if not its path.

    Raises:
        TransferError: If the folder is not in timm's format.
        DataError: If its config.json is not JSON.
    """
    name = source or str(folder)
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    missing = [path.name for path in (config_file, weights_file) if not path.is_file()]
    if missing:
        raise TransferError(
            f"{name} is not a backbone: {' and '.join(missing)} missing. Expected the backbone/ "
            "folder of a finished `cxrssl pretrain` run."
        )
    config = read_mapping(config_file, source=name, expected="Expected timm's config.json.")
    if not {"architecture", "pretrained_cfg"} <= set(config):
        raise TransferError(
            f"{name}: config.json is not timm's: it has no architecture and pretrained_cfg. "
            "Expected the backbone/ folder of a finished `cxrssl pretrain` run, not a detector/."
        )
    extra, data = config.get("cxrssl"), config["pretrained_cfg"]
    intensity = None
    try:
        if extra is not None:
            mean, std = float(data["mean"][0]), float(data["std"][0])
            if not (0 <= mean <= 1 and LEAST_STD <= std <= MOST_STD):
                raise ValueError(
                    f"mean {mean:g} and std {std:g} are not those of grey levels in [0, 1]"
                )
            intensity = Intensity(bool(extra["equalize"]), mean, std)
        weights = load_file(weights_file)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError, SafetensorError) as error:
        raise TransferError(
            f"{name} holds no backbone that can be read ({printable(str(error))}). Expected "
            "config.json and model.safetensors as `cxrssl pretrain` writes them."
        ) from error
    check_known(str(config["architecture"]))
    return str(config["architecture"]), weights, intensity


def check_known(architecture: str) -> None:
    """Raise TransferError, with names like it, unless timm has an architecture of that name."""
    # A name and no place: timm would follow a path or the name of a repository.
    if not _NAME.fullmatch(architecture) or not timm.is_model(architecture):
        name = architecture.partition(".")[0]
        similar = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.6)
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        raise TransferError(f"timm has no model called {architecture!r}.{hint}")
