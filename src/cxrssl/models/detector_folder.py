"""A detector as a folder that transformers opens without cxrssl.

`pipeline("object-detection", model="RUN/detector", trust_remote_code=True)`; the trust is for the
Python files that lie in it, which are those of `models.published`.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import RTDetrV2Config

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.state import load_own_state, own_state
from cxrssl.models import published
from cxrssl.models.backbone import check_known
from cxrssl.models.detector import Config, Detector, build_detector
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.rtdetr import RtDetr

_PROCESSOR_FILE = "image_processing_cxr.py"
_PROCESSOR = "image_processing_cxr.CxrImageProcessor"
_FILES = (
    "configuration_cxr_rcnn.py", "modeling_cxr_rcnn.py", "pyramid_cxr_rcnn.py",
    "heads_cxr_rcnn.py", "roi_align_cxr_rcnn.py", _PROCESSOR_FILE,
)  # fmt: skip
_WEIGHTS = "model.safetensors"
_READ = ("config.json", "preprocessor_config.json", _WEIGHTS)
PUBLISHED_FILES = (*_FILES, *_READ)
"""All that the folder of a detector may hold."""
_AUTO_MAP = {
    "AutoConfig": "configuration_cxr_rcnn.CxrRcnnConfig",
    "AutoModelForObjectDetection": "modeling_cxr_rcnn.CxrRcnnForObjectDetection",
}
_KINDS = {"cxr_rcnn": CxrRcnnConfig, "rt_detr_v2": RTDetrV2Config}
_EXPECTED = "Expected the detector/ folder of a finished `cxrssl finetune` run."
_PLAIN = re.compile(r"[\w.+-]*", re.ASCII)
# Under what name transformers' class for Faster R-CNN holds torchvision's detector.
_RCNN_PREFIX = "model."


def folder_of(checkpoint: Path) -> Path:
    """Return where the detector of a run lies, or the folder itself if it is one."""
    inside = checkpoint / "detector"
    return inside if inside.is_dir() else checkpoint


def save_detector(detector: Detector, folder: Path) -> None:
    """Write a detector as transformers' `config.json`, `model.safetensors` and the rest.

    The weights come last: a folder without them is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, processor = detector.config, detector.processor
    native = isinstance(config, RTDetrV2Config)
    names = (_PROCESSOR_FILE,) if native else _FILES
    for name in names:
        shutil.copyfile(Path(published.__file__).parent / name, folder / name)
    content = config.to_dict()
    content["architectures"] = [
        "RTDetrV2ForObjectDetection" if native else "CxrRcnnForObjectDetection"
    ]
    if not native:
        content["auto_map"] = _AUTO_MAP
    write_json(folder / "config.json", content)
    auto_map = {"AutoImageProcessor": _PROCESSOR}
    write_json(folder / "preprocessor_config.json", processor.to_dict() | {"auto_map": auto_map})
    with replacing(folder / _WEIGHTS) as temporary:
        own = _published(detector.model)
        prefix = _RCNN_PREFIX if own is detector.model else ""
        state = {f"{prefix}{key}": tensor for key, tensor in own_state(own).items()}
        save_file(state, temporary, metadata={"format": "pt"})


def weights_sha256(folder: Path) -> str:
    """Return the hash of a detector's file of weights."""
    with (folder / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_detector(folder: Path) -> Detector:
    """Read a detector folder, strictly; no code in it is run, and nothing that it names is fetched.

    Raises:
        DataError: If the folder is no detector of cxrssl.
        TransferError: If its weights do not fit its configuration.
    """
    missing = [name for name in _READ if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} is no detector: {' and '.join(missing)} missing. Expected the detector/ "
            "folder of a finished `cxrssl finetune` run."
        )
    config = _read_config(folder)
    _check_plain(folder, "preprocessor_config.json", {"AutoImageProcessor": _PROCESSOR})
    try:
        processor = CxrImageProcessor.from_pretrained(folder)
        state = load_file(folder / _WEIGHTS)
    except (SafetensorError, ValueError, TypeError) as error:
        raise DataError(f"{folder} holds no detector that can be read: {error}") from error
    model = build_detector(config)
    own = _published(model)
    prefix = _RCNN_PREFIX if own is model else ""
    try:
        load_own_state(own, {key.removeprefix(prefix): tensor for key, tensor in state.items()})
    except (KeyError, RuntimeError) as error:
        raise TransferError(
            f"{folder}: the weights do not fit config.json: {error.args[0]}. Expected a folder as "
            "`cxrssl finetune` left it."
        ) from error
    return Detector(model, config, processor)


def _published(model: nn.Module) -> nn.Module:
    """Return the part of a detector that transformers' class for it has inside, or is."""
    network: nn.Module = model.network if isinstance(model, RtDetr) else model
    return network


def _read_config(folder: Path) -> Config:
    content = _check_plain(folder, "config.json", _AUTO_MAP)
    kind = _KINDS.get(str(content.get("model_type")))
    if kind is None or "protocol" not in content:
        raise DataError(
            f"{folder}/config.json is of model_type {content.get('model_type')!r}; expected "
            f"{' or '.join(_KINDS)}, written by `cxrssl finetune`."
        )
    inside = content.get("backbone_config") or content
    if inside.get("use_pretrained_backbone") or inside.get("backbone_kwargs"):
        raise DataError(f"{folder}/config.json asks for other weights than its own. {_EXPECTED}")
    if kind is RTDetrV2Config and inside.get("model_type") != "timm_backbone":
        raise DataError(f"{folder}/config.json has no backbone of timm. {_EXPECTED}")
    check_known(str(inside.get("backbone")))
    try:
        config: Config = kind.from_pretrained(folder)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise DataError(
            f"{folder}/config.json does not describe a cxrssl detector: {error}"
        ) from error
    return config


def _check_plain(folder: Path, name: str, auto_map: Mapping[str, str]) -> dict[str, Any]:
    """Return a JSON file of a folder that may come from anyone, if no value of it names a place.

    transformers and timm would follow a path, a repository, or code that is named there.

    Raises:
        DataError: If it is no JSON, or names one.
    """
    try:
        content = json.loads((folder / name).read_text())
    except ValueError as error:
        raise DataError(f"{folder}/{name} is no JSON ({error}). {_EXPECTED}") from error
    if not isinstance(content, dict):
        raise DataError(f"{folder}/{name} holds no mapping. {_EXPECTED}")
    # Names of classes are words and nothing else; "Nodule/Mass" is one.
    left_out = ("id2label", "label2id", "auto_map")
    values = _leaves({key: value for key, value in content.items() if key not in left_out})
    places = [value for value in values if isinstance(value, str) and not _PLAIN.fullmatch(value)]
    if content.get("auto_map", auto_map) != auto_map:
        places += [value for value in _leaves(content["auto_map"]) if isinstance(value, str)]
    if places:
        raise DataError(
            f"{folder}/{name} names {', '.join(map(repr, places[:3]))}, which could be a path, a "
            f"repository or code, and none is followed. {_EXPECTED}"
        )
    return content


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        yield value
        return
    for one in value:
        yield from _leaves(one)
