"""Initial weights of a network, read from elsewhere; `models.weights` loads them.

Sources are timm's ImageNet weights, torchvision's COCO detector, safetensors files, repositories of
the Hub with such a file, and the `backbone/` of another run. A pickle is read from nowhere but
torchvision's own hub, whose file is checked against its hash, or from a publisher that names files
so too (`cxrssl weights`).
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_Weights,
    fasterrcnn_resnet50_fpn,
)

from cxrssl.core.errors import TransferError
from cxrssl.core.images import Intensity
from cxrssl.core.printable import printable
from cxrssl.models.backbone import (
    check_known,
    imagenet_weights,
    load_backbone,
    timm_weights,
)
from cxrssl.models.foundation_names import check_architecture, with_timm_names
from cxrssl.models.stages import check_same_network
from cxrssl.models.untrusted_config import read_mapping
from cxrssl.models.weights import Terms

_ASK_S = 5.0
_MOST_LETTERS = 200
_COCO_BODY = "backbone.body."
_NOT_NAMED = ("none named", "")
_HASH = re.compile(r"[0-9a-f]{8,64}")


def imagenet_start(architecture: str, file: Path | None) -> tuple[dict[str, Tensor], str]:
    """Return ImageNet weights of a timm architecture, and where they come from.

    Args:
        architecture: timm's name.
        file: A safetensors file with timm's keys; None takes timm's own, from its cache or the Hub.

    Raises:
        TransferError: If they are not to be had.
    """
    if file is None:
        return imagenet_weights(architecture)
    _check_header(architecture, file, source=str(file))
    weights = read_tensors(file)
    check_same_network(architecture, weights, source=str(file))
    return weights, str(file)


def published_start(architecture: str, file: Path, *, source: str) -> dict[str, Tensor]:
    """Return the published weights of a timm architecture that a file holds, under timm's names.

    Args:
        architecture: timm's name.
        file: A safetensors file with timm's keys, or DINOv2's as Meta or transformers names them.
            A `config.json` beside a `model.safetensors` has to be of the same architecture.
        source: Its name in messages.

    Raises:
        TransferError: If it is of another architecture, can't be read, or has parts of tensors.
        DataError: If the config.json is not JSON.
    """
    check_published(architecture, file, source=source)
    weights = with_timm_names(read_tensors(file), source=source)
    check_same_network(architecture, weights, source=source)
    return weights


def check_published(architecture: str, file: Path, *, source: str) -> None:
    """Check, without reading the tensors, that a file is of an architecture, as far as it says so.

    Its header may, and a `config.json` beside it.

    Raises:
        TransferError: If it is of another one, or of a kind that is not known here.
        DataError: If it is not JSON.
    """
    check_known(architecture)
    _check_header(architecture, file, source=source)
    config_file = file.parent / "config.json"
    if file.name == "model.safetensors" and config_file.is_file():
        expected = "Expected the config.json of a timm repository or of transformers' DINOv2."
        config = read_mapping(config_file, source=source, expected=expected)
        _check_architecture(architecture, config, source=source)


def _check_header(architecture: str, file: Path, *, source: str) -> None:
    """Check that a safetensors file says of no other architecture that its tensors are of it.

    Raises:
        TransferError: If it does.
    """
    found = _header(file).get("architecture", architecture)
    if found.partition(".")[0] != architecture.partition(".")[0]:
        raise TransferError(
            f"{source} says that it holds weights of {found}; the recipe has a {architecture}. Set "
            f"body.backbone (pretrain) or model.backbone (finetune) to {found}."
        )


def _check_architecture(architecture: str, config: Mapping[str, Any], *, source: str) -> None:
    """Check that a configuration of timm's or transformers' is of an architecture.

    Raises:
        TransferError: If it is of another one, or of a kind that is not known here.
    """
    if isinstance(config.get("architecture"), str):
        found = printable(str(config["architecture"])[:_MOST_LETTERS]).partition(".")[0]
        if found != architecture.partition(".")[0]:
            raise TransferError(
                f"{source} is a {found}; the recipe has a {architecture}. Set body.backbone "
                f"(pretrain) or model.backbone (finetune) to {found}."
            )
    elif config.get("model_type") in ("dinov2", "dinov2_with_registers"):
        check_architecture(architecture, config, source=source)
    else:
        kind = printable(str(config.get("model_type")))[:_MOST_LETTERS]
        raise TransferError(
            f"{source} is of the kind {kind}, whose names of tensors are not known here. Expected "
            "a repository of timm's (such as timm/vit_small_patch16_dinov3.lvd1689m for DINOv3), "
            "or transformers' dinov2 or dinov2_with_registers."
        )


def stated_terms(start: str, architecture: str, file: Path | None, licence: str | None) -> Terms:
    """Return what their publisher says of initial weights: where they come from, their licence.

    Args:
        start: The recipe's start.
        architecture: timm's name.
        file: The file that they are read from, None for timm's or torchvision's own.
        licence: What is known of their licence beside the file, None for nothing.
    """
    if file is None:
        named = timm_weights(architecture).licence if start in ("imagenet", "mean_var") else None
        return Terms(None, named or None)
    if file.suffix != ".safetensors":
        return Terms(None, licence)
    header = _header(file)
    origin, own = header.get("source"), header.get("license")
    return Terms(origin, licence or (None if own in _NOT_NAMED else own))


def _header(file: Path) -> dict[str, str]:
    """Return the texts in the header of a safetensors file, each on one line and not long."""
    try:
        with safe_open(file, "pt") as content:
            header = content.metadata() or {}
    except (OSError, SafetensorError):
        return {}  # what reads its tensors says so
    return {key: printable(text[:_MOST_LETTERS]) for key, text in header.items()}


def coco_start(architecture: str, file: Path | None) -> tuple[dict[str, Tensor], str]:
    """Return `coco_detector` for a backbone alone, keys of its body as the backbone names them.

    The keys of its FPN and heads stay as they are, for the audit to record that they are left.

    Raises:
        TransferError: If they are not to be had.
    """
    state, source = coco_detector(architecture, file)
    return {key.removeprefix(_COCO_BODY): tensor for key, tensor in state.items()}, source


def coco_detector(architecture: str, file: Path | None) -> tuple[dict[str, Tensor], str]:
    """Return torchvision's COCO Faster R-CNN (COCO_V1), its keys as torchvision has them.

    Args:
        architecture: Must be resnet50; torchvision has no other body that fits timm's.
        file: torchvision's own file, known by its hash, or a safetensors file with its keys; None
            takes torchvision's, from the cache of torch.hub or its server.

    Raises:
        TransferError: If they are not to be had.
    """
    if architecture != "resnet50":
        raise TransferError(
            f"start: coco is torchvision's fasterrcnn_resnet50_fpn, and the recipe's backbone is "
            f"{architecture}. Set its backbone to resnet50, or take another start."
        )
    weights, cached = FasterRCNN_ResNet50_FPN_Weights.COCO_V1, coco_cache()
    name, folder = cached.name, cached.parent
    if file is not None:
        return _with_current_keys(_read_hub_file(file, name), file), str(file)
    if (folder / name).is_file():  # torch.hub looks at hashes of what it fetches alone
        state = _read_hub_file(folder / name, name)
        return _with_current_keys(state, folder / name), f"torchvision {weights}"
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise TransferError(
            f"torchvision's COCO weights can't be had: {error}. Put {name} into {folder}, or name "
            "it in the recipe (body.weights in pretrain, init.weights in finetune), or call "
            "`cxrssl weights coco --out FILE.safetensors` where there is a network and name FILE."
        ) from error
    return _with_current_keys(state, folder / name), f"torchvision {weights}"


def hub_checkpoints() -> Path:
    """Return the folder in which torch.hub keeps what it fetches, for timm and torchvision."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def coco_cache() -> Path:
    """Return where torch.hub keeps torchvision's file of the COCO detector."""
    url: str = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url
    return hub_checkpoints() / url.rsplit("/", 1)[-1]


def coco_is_reachable() -> bool:
    """Return whether torchvision's server has its file of the COCO detector, and answers soon."""
    request = Request(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.url, method="HEAD")
    try:
        with urlopen(request, timeout=_ASK_S):
            return True
    except OSError:
        return False


def _with_current_keys(state: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return the tensors of the COCO detector under the keys of today's torchvision.

    Its file is of 2019, and has `rpn.head.conv.weight` where its model now has
    `rpn.head.conv.0.0.weight`; a frozen BatchNorm saved no step counters. torchvision itself knows
    how to read such a file, so it does.

    Raises:
        TransferError: If it is another model's.
    """
    with torch.device("meta"):
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    try:
        # A plain dict, since what torch remembers of versions is lost in safetensors.
        model.load_state_dict(dict(state), strict=True, assign=True)
    except RuntimeError as error:
        raise TransferError(
            f"{file} is not torchvision's fasterrcnn_resnet50_fpn of 91 classes: "
            f"{' '.join(str(error).split())[:300]} ..."
        ) from error
    tensors: dict[str, Tensor] = model.state_dict()
    return tensors


def _read_hub_file(file: Path, name: str) -> dict[str, Tensor]:
    """Read a safetensors file, or the pickle that torchvision publishes as NAME-HASH.pth."""
    if not file.is_file() or file.suffix != ".pth":
        return read_tensors(file)
    return read_hashed_pickle(file, name=name, publisher="torchvision")


def read_hashed_pickle(file: Path, *, name: str, publisher: str) -> dict[str, Tensor]:
    """Read tensors, and nothing else, from a pickle that is the file its publisher named so.

    Args:
        file: The file.
        name: Its publisher's name of it, NAME-HASH.pth, by the first 8 or more digits of its hash.
        publisher: Who that is, for messages.

    Raises:
        TransferError: If it has another hash, the name has none, or it holds more than tensors.
    """
    expected = Path(name).stem.rsplit("-", 1)[-1]
    actual = file_sha256(file)
    if not _HASH.fullmatch(expected):
        raise TransferError(
            f"{file} is a pickle, and its name has no hash to check it by. Convert it where you "
            "trust it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
            "'weights.safetensors')."
        )
    if not actual.startswith(expected):
        raise TransferError(
            f"{file} is a pickle of hash {actual[:8]}, and {publisher}'s {name} has {expected}. "
            "Name that file, or one of safetensors."
        )
    state = torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251 - a publisher's own, by its hash
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise TransferError(f"{file} holds more than tensors by their names, so it is not read.")
    return dict(state)


def file_sha256(file: Path) -> str:
    """Return the hash of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def run_start(
    folder: Path, *, source: str, architecture: str, intensity: Intensity
) -> dict[str, Tensor]:
    """Return the backbone of another run.

    Args:
        folder: Its `backbone/`, or any folder in timm's `local-dir:` format.
        source: Its name in messages.
        architecture: Architecture of the recipe.
        intensity: The recipe's grey levels, which must be those the backbone was trained on.

    Raises:
        TransferError: If it is another architecture, or was trained on other grey levels.
    """
    actual, weights, trained_on = load_backbone(folder, source=source)
    if actual != architecture:
        raise TransferError(
            f"{source} is a {actual}; the recipe has a {architecture}. Set "
            f"body.backbone (pretrain) or model.backbone (finetune) to {actual}."
        )
    if trained_on is not None and trained_on != intensity:
        raise TransferError(
            f"{source} was trained on {trained_on}; the recipe has {intensity}. "
            "Both phases need the same grey levels."
        )
    return weights


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        TransferError: If it is missing or something else.
    """
    if not file.is_file():
        raise TransferError(f"{file} is not a file. Expected weights as safetensors.")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise TransferError(
            f"{file} is not safetensors ({error}). A pickle can run any code when it is read, so "
            "convert it where you trust it: safetensors.torch.save_file(torch.load(FILE, "
            "weights_only=True), 'weights.safetensors')."
        ) from error
