"""A detector as a folder that transformers opens without cxrssl.

`pipeline("object-detection", model="RUN/detector", trust_remote_code=True)`; the trust is for the
Python files that lie in it, which are those of `models.published`.
"""

import hashlib
import shutil
from pathlib import Path

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
from cxrssl.models.outside import EXPECTED, plain_json
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
_KINDS: dict[str, type[Config]] = {"cxr_rcnn": CxrRcnnConfig, "rt_detr_v2": RTDetrV2Config}
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


def published_files(detector: Detector) -> tuple[str, ...]:
    """Return all that the folder of a detector must hold for transformers to open it."""
    return (*_code_of(detector.config), *_READ)


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
    missing = [own for own in _READ if not (folder / own).is_file()]
    if missing:
        raise DataError(f"{name} is no detector: {' and '.join(missing)} missing. {EXPECTED}")
    kind = _kind_of(folder, name)
    map_of_processor = {"AutoImageProcessor": _PROCESSOR}
    plain_json(folder / "preprocessor_config.json", auto_map=map_of_processor, source=name)
    try:
        config: Config = kind.from_pretrained(folder)
        processor = CxrImageProcessor.from_pretrained(folder)
        state = load_file(folder / _WEIGHTS)
        model = build_detector(config)
    except _UNREADABLE as error:
        raise DataError(
            f"{name} holds no detector that can be read: {error}. {EXPECTED}"
        ) from error
    own = _published(model)
    prefix = _RCNN_PREFIX if own is model else ""
    try:
        load_own_state(own, {key.removeprefix(prefix): tensor for key, tensor in state.items()})
    except (KeyError, RuntimeError) as error:
        raise TransferError(
            f"{name}: the weights do not fit config.json: {error.args[0]}. Expected a folder as "
            "`cxrssl finetune` left it."
        ) from error
    return Detector(model, config, processor)


def _published(model: nn.Module) -> nn.Module:
    """Return the part of a detector that transformers' class for it has inside, or is."""
    network: nn.Module = model.network if isinstance(model, RtDetr) else model
    return network


def _kind_of(folder: Path, name: str) -> type[Config]:
    """Return the class of a configuration, once it is known to ask for nothing from elsewhere."""
    content = plain_json(folder / "config.json", auto_map=_AUTO_MAP, source=name)
    kind = _KINDS.get(str(content.get("model_type")))
    if kind is None or "protocol" not in content:
        raise DataError(
            f"{name}: config.json is of model_type {content.get('model_type')!r}; expected "
            f"{' or '.join(_KINDS)}, written by `cxrssl finetune`."
        )
    inside = content.get("backbone_config") if kind is RTDetrV2Config else content
    is_timms = kind is CxrRcnnConfig or (
        isinstance(inside, dict) and inside.get("model_type") == "timm_backbone"
    )
    if inside is None or not is_timms:
        raise DataError(f"{name}: config.json has no backbone of timm. {EXPECTED}")
    check_known(str(inside.get("backbone")))
    return kind
