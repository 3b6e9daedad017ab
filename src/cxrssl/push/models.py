"""Uploads of backbones and detectors: weights, configuration, evidence and card."""

from pathlib import Path

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record
from cxrssl.hub.publish import Content, content_tag
from cxrssl.models.backbone import load_backbone, pyramid_body
from cxrssl.models.detector_folder import known_files, load_detector, required_files
from cxrssl.models.patches import with_patches_of
from cxrssl.models.weights import is_source
from cxrssl.push.cards import Label, backbone_card, detector_card
from cxrssl.push.evidence import Evidence, read_evidence
from cxrssl.push.upload import Upload
from cxrssl.run.folder import is_finished

_BACKBONE_FILES = ("config.json", "model.safetensors")
# For backbones of a fixed size; it changes the name of no tensor.
_ANY_PX = 224


def backbone_upload(run: Path, repo: str, licence: str) -> Upload:
    """Return the upload of a pretraining run's backbone.

    Raises:
        CxrsslError: If the run has not finished, or its backbone can't be read.
    """
    evidence = read_evidence(run)
    detectors = _detectors_from(run)
    files: dict[str, Content] = {name: run / "backbone" / name for name in _BACKBONE_FILES}
    files |= evidence.files
    for name in ("metrics.json", "recipe.yaml") if detectors else ():
        files[f"evidence/detector_{name}"] = detectors[0].files[f"evidence/{name}"]
    label = Label(repo, content_tag(files), licence)
    return Upload("model", "backbone", files, backbone_card(evidence, label, detectors))


def detector_upload(run: Path, repo: str, licence: str) -> Upload:
    """Return the upload of a fine-tuning run's detector.

    Raises:
        CxrsslError: If the run has not finished, or its detector can't be read.
    """
    evidence = read_evidence(run)
    folder = run / "detector"
    detector = load_detector(folder)  # what can't be read here can't be read there
    names = sorted(path.name for path in folder.iterdir())
    unexpected = sorted(set(names) - set(known_files(detector)))
    missing = sorted(set(required_files(folder, detector)) - set(names))
    if unexpected or missing:
        raise RunError(
            f"{folder} is not as `cxrssl finetune` left it: {', '.join(unexpected) or 'nothing'} "
            f"beyond that, {', '.join(missing) or 'nothing'} missing. What is pushed is a "
            "detector, whole, and nothing else."
        )
    files: dict[str, Content] = {name: folder / name for name in names}
    files |= evidence.files
    label = Label(repo, content_tag(files), licence)
    return Upload("model", "detector", files, detector_card(evidence, label))


def _detectors_from(run: Path) -> list[Evidence]:
    """Return the finished detectors beside a run that started from its tensors, most labels first.

    Where a plan's report counts some of them, those alone: others have the faults of the published
    code.
    """
    architecture, weights, _ = load_backbone(run / "backbone")
    body = pyramid_body(architecture, size_px=_ANY_PX)
    keys, (weights, _) = list(body.state_dict()), with_patches_of(body, weights, source=str(run))
    detectors = []
    for path in sorted(run.resolve().parent.glob("*/transfer.json")):
        if (path.parent / "detector").is_dir() and is_finished(path.parent):
            records = read_record(path, "transfers")["transfers"]
            if any(is_source(record, weights, keys=keys) for record in records):
                detectors.append(read_evidence(path.parent))
    counted = [detector for detector in detectors if detector.answer is not None]
    return sorted(counted or detectors, key=lambda run: (-_label_fraction(run), run.name))


def _label_fraction(detector: Evidence) -> float:
    assert isinstance(detector.recipe, FinetuneRecipe)
    return detector.recipe.data.label_fraction
