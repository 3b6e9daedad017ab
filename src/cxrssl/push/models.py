"""Backbones and detectors as they are pushed: weights, configuration, evidence and a card."""

from pathlib import Path

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record
from cxrssl.hub.content import CARD, Content, content_tag
from cxrssl.models.backbone import load_backbone, pyramid_body
from cxrssl.models.detector_folder import known_files, load_detector, required_files
from cxrssl.models.weights import is_source
from cxrssl.push.cards import Label, backbone_card, detector_card
from cxrssl.push.evidence import Evidence, read_evidence
from cxrssl.push.upload import Parcel
from cxrssl.run.folder import is_finished

_BACKBONE_FILES = ("config.json", "model.safetensors")
# For backbones of a fixed size; it changes the name of no tensor.
_ANY_PX = 224


def backbone_parcel(run: Path, *, repo: str, licence: str) -> Parcel:
    """Return the backbone of a pretraining run.

    Raises:
        CxrsslError: If the run has not finished, or its backbone can't be read.
    """
    found = read_evidence(run)
    detectors = _detectors_from(run)
    files: dict[str, Content] = {name: run / "backbone" / name for name in _BACKBONE_FILES}
    files |= found.files
    for name in ("metrics.json", "recipe.yaml") if detectors else ():
        files[f"evidence/detector_{name}"] = detectors[0].files[f"evidence/{name}"]
    label = Label(repo, content_tag(files), licence)
    card = backbone_card(found, label, detectors)
    return Parcel("model", "backbone", files | {CARD: card.encode()})


def detector_parcel(run: Path, *, repo: str, licence: str) -> Parcel:
    """Return the detector of a fine-tuning run.

    Raises:
        CxrsslError: If the run has not finished, or its detector can't be read.
    """
    found = read_evidence(run)
    folder = run / "detector"
    detector = load_detector(folder)  # what can't be read here can't be read there
    names = sorted(path.name for path in folder.iterdir())
    strangers = sorted(set(names) - set(known_files(detector)))
    missing = sorted(set(required_files(folder, detector)) - set(names))
    if strangers or missing:
        raise RunError(
            f"{folder} is not as `cxrssl finetune` left it: {', '.join(strangers) or 'nothing'} "
            f"beyond that, {', '.join(missing) or 'nothing'} missing. What is pushed is a "
            "detector, whole, and nothing else."
        )
    files: dict[str, Content] = {name: folder / name for name in names}
    files |= found.files
    label = Label(repo, content_tag(files), licence)
    return Parcel("model", "detector", files | {CARD: detector_card(found, label).encode()})


def _detectors_from(run: Path) -> list[Evidence]:
    """Return the finished detectors beside a run that started from its tensors, most labels first.

    Where a plan's report counts some of them, those alone: others have the faults of the published
    code.
    """
    architecture, weights, _ = load_backbone(run / "backbone")
    keys = list(pyramid_body(architecture, size_px=_ANY_PX).state_dict())
    found = []
    for path in sorted(run.resolve().parent.glob("*/transfer.json")):
        if (path.parent / "detector").is_dir() and is_finished(path.parent):
            records = read_record(path, "transfers")["transfers"]
            if any(is_source(record, weights, keys=keys) for record in records):
                found.append(read_evidence(path.parent))
    counted = [one for one in found if one.answer is not None]
    return sorted(counted or found, key=lambda one: (-_label_fraction(one), one.name))


def _label_fraction(found: Evidence) -> float:
    assert isinstance(found.recipe, FinetuneRecipe)
    return found.recipe.data.label_fraction
