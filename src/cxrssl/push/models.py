"""Backbones and detectors as they are pushed: weights, configuration, evidence and a card."""

from pathlib import Path

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.models.backbone import load_backbone
from cxrssl.models.detector_folder import PUBLISHED_FILES, load_detector
from cxrssl.push.cards import Label, backbone_card, detector_card
from cxrssl.push.evidence import Evidence, read_evidence
from cxrssl.push.parcel import Parcel
from cxrssl.run.content import CARD, Content, content_tag
from cxrssl.run.folder import is_finished

_BACKBONE_FILES = ("config.json", "model.safetensors")


def backbone_parcel(run: Path, *, repo: str, licence: str) -> Parcel:
    """Return the backbone of a pretraining run.

    Raises:
        CxrsslError: If the run has not finished, or its backbone can't be read.
    """
    found = read_evidence(run)
    load_backbone(run / "backbone")  # what can't be read here can't be read there
    detectors = _detectors_from(run)
    files: dict[str, Content] = {name: run / "backbone" / name for name in _BACKBONE_FILES}
    files |= found.files
    if detectors:
        files["evidence/detector_metrics.json"] = detectors[0].files["evidence/metrics.json"]
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
    load_detector(folder)
    names = sorted(path.name for path in folder.iterdir())
    strangers = sorted(set(names) - set(PUBLISHED_FILES))
    if strangers:
        raise RunError(
            f"{folder} holds {', '.join(strangers)}, which `cxrssl finetune` did not write. Take "
            "it out: what is pushed is a detector and nothing else."
        )
    files: dict[str, Content] = {name: folder / name for name in names}
    files |= found.files
    label = Label(repo, content_tag(files), licence)
    return Parcel("model", "detector", files | {CARD: detector_card(found, label).encode()})


def _detectors_from(run: Path) -> list[Evidence]:
    """Return the finished detectors beside a run that started from it, most labels first."""
    wanted = f"{run.resolve().name}/backbone"
    beside = sorted(path.parent for path in run.resolve().parent.glob("*/detector"))
    found = [read_evidence(one) for one in beside if is_finished(one)]
    from_it = [one for one in found if any(own["source"] == wanted for own in one.transfers)]
    return sorted(from_it, key=lambda one: (-_label_fraction(one), one.name))


def _label_fraction(found: Evidence) -> float:
    assert isinstance(found.recipe, FinetuneRecipe)
    return found.recipe.data.label_fraction
