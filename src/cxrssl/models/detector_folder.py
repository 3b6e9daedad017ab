"""A detector as a folder that transformers opens without cxrssl.

`pipeline("object-detection", model="RUN/detector", trust_remote_code=True)`; the trust is for the
Python files that lie in it, which are those of `models.published`.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import RTDetrV2Config

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.printable import printable
from cxrssl.core.state import load_own_state, own_state
from cxrssl.models import published
from cxrssl.models.backbone import check_known
from cxrssl.models.detector import Config, Detector, build_detector
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.ranges import FASTER_RCNN, PROCESSOR, RTDETR, UNUSED, checked, class_names, shown
from cxrssl.models.rtdetr import RtDetr, check_side, rtdetr_config
from cxrssl.models.untrusted_config import EXPECTED, plain_json

_PROCESSOR_FILE = "image_processing_cxr.py"
_PROCESSOR = "image_processing_cxr.CxrImageProcessor"
_FILES = (
    "configuration_cxr_rcnn.py", "modeling_cxr_rcnn.py", "pyramid_cxr_rcnn.py",
    "heads_cxr_rcnn.py", _PROCESSOR_FILE,
)  # fmt: skip
# Folders of earlier versions have it: their `modeling_cxr_rcnn.py` imports it.
_FORMER_FILE = "roi_align_cxr_rcnn.py"
_WEIGHTS = "model.safetensors"
_READ = ("config.json", "preprocessor_config.json", _WEIGHTS)
PUBLISHED_FILES = (*_FILES, _FORMER_FILE, *_READ)
"""All that the folder of a detector may hold."""
_AUTO_MAP = {
    "AutoConfig": "configuration_cxr_rcnn.CxrRcnnConfig",
    "AutoModelForObjectDetection": "modeling_cxr_rcnn.CxrRcnnForObjectDetection",
}
_FAMILIES = (CxrRcnnConfig.model_type, RTDetrV2Config.model_type)
# What transformers writes of every model and cxrssl has no use for.
_UNUSED = (
    *("transformers_version", "architectures", "auto_map", "model_type", "problem_type"),
    *("output_hidden_states", "output_attentions", "return_dict", "dtype", "torch_dtype"),
    *("chunk_size_feed_forward", "is_encoder_decoder", "tie_word_embeddings", "_name_or_path"),
    *("id2label", "label2id", "backbone", "backbone_config"),
)
# What transformers adds to a timm backbone's once it is built, and what shapes that.
_MADE_OF_BACKBONE = ("stage_names", "out_features")
_SHAPING_BACKBONE = ("num_channels", "features_only", "freeze_batch_norm_2d", "output_stride")
_NOTHING: tuple[object, ...] = (None, False, "", [], {})
_UNUSED_BY_PROCESSOR = ("image_processor_type", "processor_class", "auto_map")
# What transformers, timm and safetensors raise of files that are not what they seem.
_UNREADABLE = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(SafetensorError, StrictDataclassError, TypeError, ValueError),
)
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
    for name in _code_of(config):
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


def _code_of(config: Config) -> tuple[str, ...]:
    return (_PROCESSOR_FILE,) if isinstance(config, RTDetrV2Config) else _FILES


def published_files(folder: Path, detector: Detector) -> tuple[str, ...]:
    """Return all that the folder of a detector must hold for transformers to open it."""
    code = _code_of(detector.config)
    present = [folder / name for name in code if (folder / name).is_file()]
    if any(Path(_FORMER_FILE).stem in path.read_text(encoding="utf-8") for path in present):
        code = (*code, _FORMER_FILE)
    return (*code, *_READ)


def weights_sha256(folder: Path) -> str:
    """Return the hash of a detector's file of weights."""
    with (folder / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_detector(folder: Path, *, source: str | None = None) -> Detector:
    """Read a detector folder, strictly; no code in it is run, and nothing that it names is fetched.

    Args:
        folder: As `save_detector` writes it; it may come from anyone.
        source: What it is called in messages, if not by its path.

    Raises:
        DataError: If the folder is no detector of cxrssl.
        TransferError: If its weights do not fit its configuration.
    """
    name = source or str(folder)
    missing = [file for file in _READ if not (folder / file).is_file()]
    if missing:
        raise DataError(f"{name} is no detector: {' and '.join(missing)} missing. {EXPECTED}")
    fields = _processor_fields(folder, name)
    try:
        processor = CxrImageProcessor(**fields)
        config = _config(folder, name, size_px=fields.get("size_px", processor.size_px))
        _check_weights(folder / _WEIGHTS, config, name)
        state = _finite_weights(folder / _WEIGHTS, name)
        model = build_detector(config)
    except _UNREADABLE as error:
        raise DataError(
            f"{name} holds no detector that can be read: {printable(str(error))[:500]}. {EXPECTED}"
        ) from error
    own = _published(model)
    prefix = _RCNN_PREFIX if own is model else ""
    try:
        load_own_state(own, {key.removeprefix(prefix): tensor for key, tensor in state.items()})
    except (KeyError, RuntimeError) as error:
        raise _unfit(name, error.args[0]) from error
    return Detector(model, config, processor)


def _check_weights(file: Path, config: Config, name: str) -> None:
    """Check that a file has a detector's tensors, before memory is asked for either.

    Raises:
        TransferError: If one is missing, is too many, or is of another shape.
    """
    with torch.device("meta"):
        model = build_detector(config)
    own = _published(model)
    prefix = _RCNN_PREFIX if own is model else ""
    expected = {f"{prefix}{key}": list(tensor.shape) for key, tensor in own_state(own).items()}
    with safe_open(file, framework="pt") as content:
        shapes = {key: content.get_slice(key).get_shape() for key in content.keys()}  # noqa: SIM118 - it is no mapping
    odd = sorted(shapes.keys() ^ expected.keys())
    if odd:
        some = printable(", ".join(odd[:3]))[:300]
        raise _unfit(name, f"{len(odd)} tensors are missing or have no place: {some}")
    for key, shape in shapes.items():
        if shape != expected[key]:
            raise _unfit(name, f"{key} is {shape}, and {expected[key]} there")


def _finite_weights(file: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file; with one that is no number a detector would find nothing."""
    state = load_file(file)
    odd = sorted(key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all()))
    if odd:
        some = printable(", ".join(odd[:3]))[:300]
        raise TransferError(
            f"{name}: {len(odd)} tensors hold what is no number: {some}. The file is damaged, or "
            "of a training that has failed; take another."
        )
    return state


def _unfit(name: str, reason: object) -> TransferError:
    return TransferError(
        f"{name}: the weights do not fit config.json: {reason}. Expected a folder as "
        "`cxrssl finetune` left it."
    )


def _published(model: nn.Module) -> nn.Module:
    """Return the part of a detector that transformers' class for it has inside, or is."""
    network: nn.Module = model.network if isinstance(model, RtDetr) else model
    return network


def _processor_fields(folder: Path, name: str) -> dict[str, Any]:
    """Return the arguments of the processor, from its one file and no other of the folder."""
    path = folder / "preprocessor_config.json"
    content = plain_json(path, auto_map={"AutoImageProcessor": _PROCESSOR}, source=name)
    place = f"{name}: {path.name}"
    _check_keys(content, (*PROCESSOR, *_UNUSED_BY_PROCESSOR), place)
    return checked(content, PROCESSOR, place=place)


def _config(folder: Path, name: str, *, size_px: int) -> Config:
    """Return the configuration, made anew of what `config.json` says and no other file.

    Args:
        folder: That of a detector.
        name: What it is called in messages.
        size_px: Side of the processor's square.
    """
    content = plain_json(folder / "config.json", auto_map=_AUTO_MAP, source=name)
    place = f"{name}: config.json"
    family = content.get("model_type")
    if family not in _FAMILIES or "protocol" not in content:
        raise DataError(
            f"{place} is of model_type {shown(family)}; expected {' or '.join(_FAMILIES)}, "
            "written by `cxrssl finetune`."
        )
    checked(content, UNUSED, place=place)
    names = class_names(content, place=place)
    if family == RTDetrV2Config.model_type:
        return _rtdetr(content, names, place, size_px=size_px)
    _check_keys(content, (*FASTER_RCNN, *_UNUSED), place)
    fields = checked(content, FASTER_RCNN, place=place)
    labels = {"id2label": names, "label2id": _turned(content, names)}
    return CxrRcnnConfig(backbone=_backbone(content, place), **labels, **fields)


def _rtdetr(
    content: Mapping[str, Any], names: dict[int, str], place: str, *, size_px: int
) -> RTDetrV2Config:
    """Return an RT-DETRv2 as a recipe makes it; the file may say nothing else of it."""
    fields = checked(content, RTDETR, place=place)
    inside = content.get("backbone_config")
    if not isinstance(inside, dict) or inside.get("model_type") != "timm_backbone":
        raise DataError(f"{place} has no backbone of timm. {EXPECTED}")
    missing = sorted(RTDETR.keys() - fields.keys())
    if missing:
        raise DataError(f"{place} has no {', '.join(missing)}. {EXPECTED}")
    check_side(size_px, num_queries=fields["num_queries"])
    # The processor's and not the file's: a recipe has the side in one place.
    asked = fields | {"backbone": _backbone(inside, place), "size_px": size_px}
    labels = {"id2label": names, "label2id": _turned(content, names)}
    with torch.device("meta"):
        config = rtdetr_config(asked | labels | {"width": fields["d_model"]})
    written = config.to_dict()
    _check_keys(content, (*written, *_UNUSED), place)
    _check_keys(inside, (*written["backbone_config"], *_MADE_OF_BACKBONE), place)
    settled = {*RTDETR, *_UNUSED}
    odd = [
        f"{key} {shown(value)} (expected {shown(written[key])})"
        for key, value in content.items()
        if key in written and key not in settled and value != written[key]
    ]
    theirs = written["backbone_config"]
    odd += [
        f"backbone_config.{key} {shown(inside[key])} (expected {shown(theirs[key])})"
        for key in _SHAPING_BACKBONE
        if key in inside and inside[key] != theirs[key]
    ]
    if odd:
        version = shown(content.get("transformers_version"))
        raise DataError(
            f"{place}, of transformers {version}, says {'; '.join(odd[:3])}. {EXPECTED}"
        )
    return config


def _turned(content: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, int] | None:
    """Return the numbers of classes by name, None where the file leaves them out."""
    if content.get("label2id") is None:
        return None
    return {name: label for label, name in names.items()}


def _backbone(content: Mapping[str, Any], place: str) -> str:
    """Return timm's name of the backbone: a name that it knows, and no place."""
    backbone = content.get("backbone")
    if not isinstance(backbone, str):
        raise DataError(f"{place} has no backbone of timm. {EXPECTED}")
    check_known(backbone)
    return backbone


def _check_keys(content: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """Check that a configuration has no key beyond those known, unless it holds nothing.

    Raises:
        DataError: If it has.
    """
    odd = [key for key in content.keys() - set(known) if content[key] not in _NOTHING]
    if odd:
        raise DataError(
            f"{place} has keys that no detector of cxrssl has: {shown(sorted(odd)[:5])}. {EXPECTED}"
        )
