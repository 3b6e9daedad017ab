"""Model cards of backbones and detectors, written from the evidence of their runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cxrssl import __version__
from cxrssl.config.arms import percent
from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe, IntensitySection, PretrainRecipe
from cxrssl.core.markdown import plain, render_card
from cxrssl.models.families import family
from cxrssl.push.evidence import Evidence
from cxrssl.push.metadata import model_metadata
from cxrssl.push.texts import DATA_TITLES, MODEL_DATA, licence_text

_SCORES = {
    "AP": "mAP, IoU 0.50:0.95",
    "AP50": "mAP50",
    "AP40": "mAP40",
    "AP75": "mAP75",
    "AR100": "mean recall of 100 detections an image",
    "AR100_agnostic": "the same, of any class (the paper's AR)",
}
_PRIOR_SCORES = {"froc_mean": "mean FROC sensitivity", "AP50": "mAP50", "AP": "mAP"}
_STRICTEST_FIRST = ("VinDr-CXR", "unknown", None, "phantom")
_CODE = "The Python files beside them are cxrssl's, under Apache-2.0."
_START_TITLES = {
    "random": "random weights",
    "imagenet": "ImageNet weights",
    "published": "published weights",
    "coco": "torchvision's COCO detector",
    "mean_var": "random weights with the mean and variance of pretrained ones",
    "run": "the backbone of another run",
}


@dataclass(frozen=True)
class Label:
    """Name, tag and licence of a repository.

    Attributes:
        repo: ORG/NAME.
        tag: Tag of the published commit.
        licence: The Hub's identifier of the licence.
    """

    repo: str
    tag: str
    licence: str


def detector_card(evidence: Evidence, label: Label) -> str:
    """Return the card of a detector."""
    recipe, metrics = evidence.recipe, evidence.metrics
    assert isinstance(recipe, FinetuneRecipe)
    model, data = recipe.model, recipe.data
    title = family(model.family).TITLE
    origin = evidence.provenance.get("data_origin")
    common = _common_fields(evidence, label) | _score_fields(evidence, "evidence/metrics.json")
    fields = {
        "license": f"{licence_text(label.licence, 'weights')} {_CODE}",
        "title": f"{title} on {model.backbone} for {DATA_TITLES[origin]}",
        "summary": (
            f"{title} with timm's `{model.backbone}` in it, fine-tuned on "
            f"{percent(data.label_fraction)} % of the training labels ({_amount_text(metrics)})"
            f"{_unlabelled_text(metrics)}. "
            f"It started from {_start_text(evidence)}. "
            f"mAP on the test split is {_score_text(metrics['metrics']['AP'])}, mAP50 "
            f"{_score_text(metrics['metrics']['AP50'])}."
        ),
        "task": "finetune",
        "classes": list(metrics["classes"]),
        "normals": data.normals,
        "preprocessing": [
            ("size", f"{recipe.size_px} px, the longer side inside the detector"),
            *_intensity_rows(recipe.intensity),
        ],
        "metadata": model_metadata(
            licence=label.licence,
            library="transformers",
            task="object-detection",
            tags=["object-detection", model.family.replace("_", "-"), model.backbone],
            name=evidence.name,
            origin=origin,
            scores=metrics["metrics"],
            transfers=evidence.transfers,
        ),
    }
    return render_card("card_detector", common | fields)


def _amount_text(metrics: Mapping[str, Any]) -> str:
    """Return the films and boxes of a run, with what readers drew where that was recorded."""
    boxes = f"{metrics['train_boxes']} boxes"
    drawn = metrics.get("train_reader_boxes", metrics["train_boxes"])
    if drawn != metrics["train_boxes"]:
        boxes += f", fused from {drawn} that readers drew"
    return f"{metrics['train_images']} films, {boxes}"


def backbone_card(evidence: Evidence, label: Label, detectors: list[Evidence]) -> str:
    """Return the card of a backbone.

    Args:
        evidence: Evidence of the pretraining run.
        label: Name, tag and licence of its repository.
        detectors: Evidence of the detectors that started from it; the card describes the first.
    """
    recipe, metrics = evidence.recipe, evidence.metrics
    assert isinstance(recipe, PretrainRecipe)
    backbone, origin = recipe.backbone, evidence.provenance.get("data_origin")
    scores: dict[str, Any] = {"detector": None}
    if detectors:
        detector_recipe = detectors[0].recipe
        assert isinstance(detector_recipe, FinetuneRecipe)
        scores = _score_fields(detectors[0], "evidence/detector_metrics.json") | {
            "detector": detectors[0].name,
            "num_detectors": len(detectors),
            "label_share": percent(detector_recipe.data.label_fraction),
        }
    views, method = recipe.views, evidence.method
    crops = " to ".join(f"{fraction:.0%}" for fraction in views.crop_area)
    fields = {
        "title": f"{method['title']} {backbone} for {DATA_TITLES[origin]}",
        "summary": (
            f"timm's `{backbone}`, pretrained by {method['title']} on {metrics['num_images']} "
            f"images without their labels, from {_start_title(evidence)}: a start for "
            "detectors and classifiers of chest radiographs."
        ),
        "task": "pretrain",
        "architecture": backbone,
        "equalize": recipe.intensity.equalize,
        "size_px": views.size_px,
        "preprocessing": [
            ("size", f"views of {views.size_px} px, crops of {crops} of a film"),
            *_intensity_rows(recipe.intensity),
            ("channels", "3 equal ones; `in_chans=1` adds up the first weights, for the same"),
        ],
        "health": [
            ("method", f"{method['title']}, {method['paper']}"),
            ("loss at the end", f"{metrics['loss']:.3f}"),
            *_chance_rows(metrics),
            *_representation_rows(metrics),
            ("steps", metrics["num_steps"]),
            ("images a batch", recipe.batch_size),
        ],
        "metadata": model_metadata(
            licence=label.licence,
            library="timm",
            task="image-feature-extraction",
            tags=["self-supervised-learning", method["name"], backbone],
            name=evidence.name,
            # The source of the test images: the pool may be another one.
            origin=detectors[0].provenance.get("data_origin") if detectors else origin,
            scores=detectors[0].metrics["metrics"] if detectors else None,
            transfers=evidence.transfers,
        ),
    }
    return render_card("card_backbone", _common_fields(evidence, label) | scores | fields)


def _common_fields(evidence: Evidence, label: Label) -> dict[str, Any]:
    """Return the fields that both cards have."""
    origin = _strictest_origin(evidence.provenance)
    return {
        "repo": label.repo,
        "tag": label.tag,
        "origin": origin,
        "data": MODEL_DATA[origin],
        "run": evidence.provenance,
        "protocol": evidence.recipe.data.protocol,
        "answer": evidence.answer,
        "start": _start_title(evidence) + _replaced_text(evidence.body),
        "transfers": evidence.transfers,
        "recipe": to_yaml(evidence.recipe).rstrip(),
        "license": licence_text(label.licence, "weights"),
        "version": __version__,
    }


def _strictest_origin(provenance: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of a JSON file
    """Return whose images a run was trained on: of several, those with the strictest terms."""
    records = [provenance, *([provenance["unlabelled"]] if "unlabelled" in provenance else [])]
    origins = [record.get("data_origin") for record in records]
    return next((one for one in _STRICTEST_FIRST if one in origins), origins[0])


def _unlabelled_text(metrics: Mapping[str, Any]) -> str:
    """Say what a teacher learnt from besides; empty without one."""
    unlabelled = metrics.get("unlabelled")
    return f", with a teacher on {unlabelled['images']} films without labels" if unlabelled else ""


def _replaced_text(body: Mapping[str, Any] | None) -> str:
    """Say which part of the backbone did not keep what was loaded, for the card's sentence."""
    if body is None:
        return ""
    kept = f"{body['keep_stages']} of {body['num_stages']} stages"
    return f"; of the backbone {kept} kept the weights below, and the others are random"


def _score_fields(evidence: Evidence, metrics_file: str) -> dict[str, Any]:
    """Return the fields of `part_scores.md` for a detector."""
    assert isinstance(evidence.recipe, FinetuneRecipe)
    return {
        "metrics": evidence.metrics,
        "score_titles": _SCORES,
        "prior_titles": _PRIOR_SCORES,
        "consensus_iou": evidence.recipe.data.consensus_iou,
        "metrics_file": metrics_file,
    }


def _chance_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the row of the loss at chance level, if the method has one."""
    if "chance_loss" in metrics:
        yield "the same by chance", f"{metrics['chance_loss']:.3f}"


def _representation_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows of the features' state, as far as the run's version has measured it."""
    # Without this count, BatchNorm had no statistics at the start, and ranks of it mean nothing.
    if "probe_findings" in metrics:
        yield "RankMe at the start", f"{metrics['rankme_start']:.1f}"
    yield "RankMe at the end", f"{metrics['rankme']:.1f}"
    if "probe_auroc_start" in metrics:
        yield "probe AUROC at the start", f"{metrics['probe_auroc_start']:.3f}"
    if "probe_auroc" in metrics:
        yield "probe AUROC at the end", f"{metrics['probe_auroc']:.3f}"
        yield "findings that it counts", str(metrics["probe_findings"])


def _intensity_rows(intensity: IntensitySection) -> list[tuple[str, str]]:
    equalised = "histogram-equalised" if intensity.equalize else "as they are"
    return [
        ("grey levels", f"8 bits, {equalised}; dark is little radiation stopped"),
        (
            "normalisation",
            f"mean {intensity.mean:g}, standard deviation {intensity.std:g}, of [0, 1]",
        ),
    ]


def _start_title(evidence: Evidence) -> str:
    """Return the kind of a start in words; published weights by their names."""
    title = _START_TITLES[evidence.start]
    if evidence.start != "published" or not evidence.transfers:
        return title
    return f"{title}, {plain(str(evidence.transfers[0]['source']))}"


def _start_text(evidence: Evidence) -> str:
    """Return a detector's initial weights in words."""
    recipe = evidence.recipe
    assert isinstance(recipe, FinetuneRecipe)
    title = _start_title(evidence)
    if recipe.init.backbone is None:
        return title
    return f"{title}, with the backbone `{recipe.init.backbone}`"


def _score_text(entry: Mapping[str, Any]) -> str:
    """Return a score, and its interval where there is one."""
    if entry["value"] is None:
        return "not known"
    if entry["low"] is None or entry["high"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
