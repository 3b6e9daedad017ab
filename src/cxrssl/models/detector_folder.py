"""A detector as a folder that transformers opens without cxrssl.

`pipeline("object-detection", model="RUN/detector", trust_remote_code=True)`; the trust is for the
Python files that lie in it, which are those of `models.published`.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig

from cxrssl.core.errors import DataError, TransferError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.printable import printable
from cxrssl.core.state import load_unique_tensors, unique_tensors
from cxrssl.models import published
from cxrssl.models.config_file import check_keys, class_labels
from cxrssl.models.detector import Detector
from cxrssl.models.families import Family, families, family_of
from cxrssl.models.published.image_processing_cxr import CxrImageProcessor
from cxrssl.models.ranges import PROCESSOR, UNUSED, checked, shown
from cxrssl.models.untrusted_config import EXPECTED, check_plain, read_mapping

_PROCESSOR_FILE = "image_processing_cxr.py"
_PROCESSOR_AUTO_MAP = {"AutoImageProcessor": "image_processing_cxr.CxrImageProcessor"}
_UNUSED_BY_PROCESSOR = ("image_processor_type", "processor_class", "auto_map")
_WEIGHTS = "model.safetensors"
_REQUIRED = ("config.json", "preprocessor_config.json", _WEIGHTS)
# Errors of transformers, timm and safetensors for files that are not what they seem.
_UNREADABLE = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(SafetensorError, StrictDataclassError, TypeError, ValueError),
)


def folder_of(checkpoint: Path) -> Path:
    """Return where the detector of a run lies, or the folder itself if it is one."""
    detector = checkpoint / "detector"
    return detector if detector.is_dir() else checkpoint


def save_detector(detector: Detector, folder: Path) -> None:
    """Write a detector as transformers' `config.json`, `model.safetensors` and the rest.

    The weights come last: a folder without them is not a detector.
    """
    folder.mkdir(parents=True, exist_ok=True)
    family = detector.family
    for name in (*family.published_files(), _PROCESSOR_FILE):
        shutil.copyfile(Path(published.__file__).parent / name, folder / name)
    content = detector.config.to_dict() | {"architectures": [family.ARCHITECTURE]}
    if family.AUTO_MAP:
        content["auto_map"] = family.AUTO_MAP
    write_json(folder / "config.json", content)
    processor = detector.processor.to_dict() | {"auto_map": _PROCESSOR_AUTO_MAP}
    write_json(folder / "preprocessor_config.json", processor)
    with replacing(folder / _WEIGHTS) as temporary:
        save_file(_tensors(family, detector.model), temporary, metadata={"format": "pt"})


def required_files(folder: Path, detector: Detector) -> tuple[str, ...]:
    """Return the files that transformers needs to open a detector's folder.

    Code of earlier versions imports other files than today's, so code is asked what it imports.
    """
    family = detector.family
    code_files = (*family.published_files(), *family.former_files())
    paths = [folder / name for name in (*code_files, _PROCESSOR_FILE)]
    code = "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()
    )
    entries = {f"{target.split('.')[0]}.py" for target in family.AUTO_MAP.values()}
    imported = [name for name in code_files if name in entries or f".{Path(name).stem}" in code]
    return (*imported, _PROCESSOR_FILE, *_REQUIRED)


def known_files(detector: Detector) -> tuple[str, ...]:
    """Return all files that a detector's folder may hold."""
    family = detector.family
    return (*family.published_files(), *family.former_files(), _PROCESSOR_FILE, *_REQUIRED)


def weights_sha256(folder: Path) -> str:
    """Return the hash of a detector's file of weights."""
    with (folder / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_detector(folder: Path, *, source: str | None = None) -> Detector:
    """Read a detector folder, strictly; no code in it is run, and nothing that it names is fetched.

    Args:
        folder: As `save_detector` writes it; it may come from anyone.
        source: Its name in messages, if not its path.

    Raises:
        DataError: If the folder is not a detector of cxrssl.
        TransferError: If its weights do not fit its configuration.
    """
    name = source or str(folder)
    missing = [file for file in _REQUIRED if not (folder / file).is_file()]
    if missing:
        raise DataError(f"{name} is not a detector: {' and '.join(missing)} missing. {EXPECTED}")
    fields = _processor_fields(folder, name)
    try:
        processor = CxrImageProcessor(**fields)
        family, config = _config(folder, name, size_px=fields.get("size_px", processor.size_px))
        _check_weights(folder / _WEIGHTS, family, config, name)
        state = _finite_weights(folder / _WEIGHTS, name)
        model = family.build(config)
    except _UNREADABLE as error:
        raise DataError(
            f"{name} holds no detector that can be read: {printable(str(error))[:500]}. {EXPECTED}"
        ) from error
    weights = {key.removeprefix(family.KEY_PREFIX): tensor for key, tensor in state.items()}
    try:
        load_unique_tensors(family.network(model), weights)
    except (KeyError, RuntimeError) as error:
        raise _misfit(name, error.args[0]) from error
    return Detector(model, config, processor)


def _tensors(family: Family, model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a detector under the names that transformers' class has for them."""
    state = unique_tensors(family.network(model))
    return {f"{family.KEY_PREFIX}{key}": tensor for key, tensor in state.items()}


def _check_weights(file: Path, family: Family, config: PreTrainedConfig, name: str) -> None:
    """Check that a file has a detector's tensors, before memory is asked for either.

    Raises:
        TransferError: If one is missing, is too many, or is of another shape.
    """
    with torch.device("meta"):
        tensors = _tensors(family, family.build(config))
    expected = {key: list(tensor.shape) for key, tensor in tensors.items()}
    with safe_open(file, framework="pt") as content:
        shapes = {key: content.get_slice(key).get_shape() for key in content.keys()}  # noqa: SIM118 - not a mapping
    different = sorted(shapes.keys() ^ expected.keys())
    if different:
        examples = printable(", ".join(different[:3]))[:300]
        raise _misfit(name, f"{len(different)} tensors are missing or have no place: {examples}")
    for key, shape in shapes.items():
        if shape != expected[key]:
            raise _misfit(name, f"{key} is {shape}, and {expected[key]} there")


def _finite_weights(file: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file, all finite; otherwise a detector would find nothing."""
    state = load_file(file)
    not_finite = sorted(
        key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())
    )
    if not_finite:
        examples = printable(", ".join(not_finite[:3]))[:300]
        raise TransferError(
            f"{name}: {len(not_finite)} tensors are not finite: {examples}. The file is damaged, "
            "or of a training that has failed; take another."
        )
    return state


def _misfit(name: str, reason: object) -> TransferError:
    return TransferError(
        f"{name}: the weights do not fit config.json: {reason}. Expected a folder as "
        "`cxrssl finetune` left it."
    )


def _processor_fields(folder: Path, name: str) -> dict[str, Any]:
    """Return the arguments of the processor, from its file alone."""
    content, file = _content(folder / "preprocessor_config.json", name)
    check_plain(content, auto_map=_PROCESSOR_AUTO_MAP, file=file)
    check_keys(content, (*PROCESSOR, *_UNUSED_BY_PROCESSOR), file=file)
    return checked(content, PROCESSOR, file=file)


def _config(folder: Path, name: str, *, size_px: int) -> tuple[Family, PreTrainedConfig]:
    """Return the family and the configuration, from `config.json` alone.

    Args:
        folder: Folder of a detector.
        name: Its name in messages.
        size_px: Side of the processor's square.
    """
    content, file = _content(folder / "config.json", name)
    family = family_of(content.get("model_type"))
    if family is None or "protocol" not in content:
        model_types = " or ".join(module.MODEL_TYPE for module in families())
        raise DataError(
            f"{file} is of model_type {shown(content.get('model_type'))}; expected {model_types}, "
            "written by `cxrssl finetune`."
        )
    check_plain(content, auto_map=family.AUTO_MAP, file=file)
    checked(content, UNUSED, file=file)
    labels = class_labels(content, file=file)
    return family, family.read_config(content, labels=labels, size_px=size_px, file=file)


def _content(path: Path, name: str) -> tuple[Mapping[str, Any], str]:
    """Return the content of a JSON file, and its name in messages."""
    return read_mapping(path, source=name, expected=EXPECTED), f"{name}: {path.name}"
