"""A detector as a folder that transformers opens without cxrssl.

`pipeline("object-detection", model="RUN/detector", trust_remote_code=True)`; the trust is for the
Python files that lie in it, which are those of `models.published`.
"""

import json
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
from cxrssl.models.detector import Config, Detector, build_detector
from cxrssl.models.published.configuration_cxr_rcnn import CxrRcnnConfig
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.rtdetr import RtDetr

_PROCESSOR_FILE = "image_processing_cxr.py"
_FILES = (
    "configuration_cxr_rcnn.py", "modeling_cxr_rcnn.py", "pyramid_cxr_rcnn.py",
    "heads_cxr_rcnn.py", "roi_align_cxr_rcnn.py", _PROCESSOR_FILE,
)  # fmt: skip
_AUTO_MAP = {
    "AutoConfig": "configuration_cxr_rcnn.CxrRcnnConfig",
    "AutoModelForObjectDetection": "modeling_cxr_rcnn.CxrRcnnForObjectDetection",
}
_KINDS = {"cxr_rcnn": CxrRcnnConfig, "rt_detr_v2": RTDetrV2Config}
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
    module = _PROCESSOR_FILE.removesuffix(".py")
    auto_map = {"AutoImageProcessor": f"{module}.CxrImageProcessor"}
    write_json(folder / "preprocessor_config.json", processor.to_dict() | {"auto_map": auto_map})
    with replacing(folder / "model.safetensors") as temporary:
        own = _published(detector.model)
        prefix = _RCNN_PREFIX if own is detector.model else ""
        state = {f"{prefix}{key}": tensor for key, tensor in own_state(own).items()}
        save_file(state, temporary, metadata={"format": "pt"})


def load_detector(folder: Path) -> Detector:
    """Read a detector folder, strictly; no code in it is run.

    Raises:
        DataError: If the folder is no detector of cxrssl.
        TransferError: If its weights do not fit its configuration.
    """
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} is no detector: {' and '.join(missing)} missing. Expected the detector/ "
            "folder of a finished `cxrssl finetune` run."
        )
    config = _read_config(folder)
    try:
        processor = CxrImageProcessor.from_pretrained(folder)
        state = load_file(folder / "model.safetensors")
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
    try:
        content = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise DataError(
            f"{folder}/config.json is no JSON ({error}). Expected the detector/ folder of a "
            "finished `cxrssl finetune` run."
        ) from error
    kind = _KINDS.get(content.get("model_type"))
    if kind is None or "protocol" not in content:
        raise DataError(
            f"{folder}/config.json is of model_type {content.get('model_type')!r}; expected "
            f"{' or '.join(_KINDS)}, written by `cxrssl finetune`."
        )
    try:
        config: Config = kind.from_pretrained(folder)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise DataError(
            f"{folder}/config.json does not describe a cxrssl detector: {error}"
        ) from error
    return config
