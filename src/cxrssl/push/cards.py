"""What the cards of backbones and detectors say, from the evidence of their runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cxrssl import __version__
from cxrssl.config.arms import percent
from cxrssl.config.load import to_yaml
from cxrssl.config.schema import FinetuneRecipe, IntensitySection, PretrainRecipe
from cxrssl.core.markdown import render_card
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
_CODE = "The Python files beside them are cxrssl's, under Apache-2.0."
_STARTS = {
    "random": "random weights",
    "imagenet": "ImageNet weights",
    "coco": "torchvision's COCO detector",
    "run": "the backbone of another run",
}


@dataclass(frozen=True)
class Label:
    """How a repository is called.

    Attributes:
        repo: ORG/NAME.
        tag: Of the commit that is published.
        licence: An identifier of the Hub.
    """

    repo: str
    tag: str
    licence: str


def detector_card(found: Evidence, label: Label) -> str:
    """Return the card of a detector."""
    recipe, metrics = found.recipe, found.metrics
    assert isinstance(recipe, FinetuneRecipe)
    model, data = recipe.model, recipe.data
    title = family(model.family).TITLE
    origin = found.provenance.get("data_origin")
    content = _common(found, label) | _scores(found, "evidence/metrics.json")
    own = {
        "license": f"{licence_text(label.licence, 'weights')} {_CODE}",
        "title": f"{title} on {model.backbone} for {DATA_TITLES[origin]}",
        "summary": (
            f"A {title} with timm's `{model.backbone}` in it, fine-tuned on "
            f"{percent(data.label_fraction)} % of the training labels ({metrics['train_images']} "
            f"images, {metrics['train_boxes']} boxes). It started from {_start(found)}. mAP on the "
            f"test split is {_entry(metrics['metrics']['AP'])}, mAP50 "
            f"{_entry(metrics['metrics']['AP50'])}."
        ),
        "task": "finetune",
        "classes": list(metrics["classes"]),
        "normals": data.normals,
        "preprocessing": [
            ("size", f"{recipe.size_px} px, the longer side inside the detector"),
            *_intensity(recipe.intensity),
        ],
        "metadata": model_metadata(
            licence=label.licence,
            library="transformers",
            task="object-detection",
            tags=["object-detection", model.family.replace("_", "-"), model.backbone],
            name=found.name,
            origin=origin,
            scores=metrics["metrics"],
            transfers=found.transfers,
        ),
    }
    return render_card("card_detector", content | own)


def backbone_card(found: Evidence, label: Label, detectors: list[Evidence]) -> str:
    """Return the card of a backbone.

    Args:
        found: Its run.
        label: How its repository is called.
        detectors: Those that started from it, the one that the card tells of first.
    """
    recipe, metrics = found.recipe, found.metrics
    assert isinstance(recipe, PretrainRecipe)
    backbone, origin = recipe.backbone, found.provenance.get("data_origin")
    scores: dict[str, Any] = {"detector": None}
    if detectors:
        own_recipe = detectors[0].recipe
        assert isinstance(own_recipe, FinetuneRecipe)
        scores = _scores(detectors[0], "evidence/detector_metrics.json") | {
            "detector": detectors[0].name,
            "num_detectors": len(detectors),
            "label_share": percent(own_recipe.data.label_fraction),
        }
    views, method = recipe.views, found.method
    own = {
        "title": f"{method['title']} {backbone} for {DATA_TITLES[origin]}",
        "summary": (
            f"timm's `{backbone}`, pretrained by {method['title']} on {metrics['num_images']} "
            f"images without their labels, from {_STARTS[found.start]}: a start for detectors and "
            "classifiers of chest radiographs."
        ),
        "task": "pretrain",
        "architecture": backbone,
        "equalize": recipe.intensity.equalize,
        "size_px": views.size_px,
        "preprocessing": [
            ("size", f"views of {views.size_px} px, crops of {_range(views.crop_area)} of a film"),
            *_intensity(recipe.intensity),
            ("channels", "3 equal ones; `in_chans=1` adds up the first weights, for the same"),
        ],
        "health": [
            ("method", f"{method['title']}, {method['paper']}"),
            ("loss at the end", f"{metrics['loss']:.3f}"),
            *_chance(metrics),
            ("RankMe at the end", f"{metrics['rankme']:.1f}"),
            ("steps", metrics["num_steps"]),
            ("images a batch", recipe.batch_size),
        ],
        "metadata": model_metadata(
            licence=label.licence,
            library="timm",
            task="image-feature-extraction",
            tags=["self-supervised-learning", method["name"], backbone],
            name=found.name,
            # Of what was tested: a pool may come from elsewhere.
            origin=detectors[0].provenance.get("data_origin") if detectors else origin,
            scores=detectors[0].metrics["metrics"] if detectors else None,
            transfers=found.transfers,
        ),
    }
    return render_card("card_backbone", _common(found, label) | scores | own)


def _common(found: Evidence, label: Label) -> dict[str, Any]:
    """Return what both cards say of a run."""
    origin = found.provenance.get("data_origin")
    return {
        "repo": label.repo,
        "tag": label.tag,
        "origin": origin,
        "data": MODEL_DATA[origin],
        "run": found.provenance,
        "protocol": found.recipe.data.protocol,
        "answer": found.answer,
        "start": _STARTS[found.start],
        "transfers": found.transfers,
        "recipe": to_yaml(found.recipe).rstrip(),
        "license": licence_text(label.licence, "weights"),
        "version": __version__,
    }


def _scores(found: Evidence, metrics_file: str) -> dict[str, Any]:
    """Return what `part_scores.md` says of a detector."""
    assert isinstance(found.recipe, FinetuneRecipe)
    return {
        "metrics": found.metrics,
        "score_titles": _SCORES,
        "consensus_iou": found.recipe.data.consensus_iou,
        "metrics_file": metrics_file,
    }


def _chance(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the loss of a network that tells nothing apart, where a method has one."""
    if "chance_loss" in metrics:
        yield "the same by chance", f"{metrics['chance_loss']:.3f}"


def _intensity(own: IntensitySection) -> list[tuple[str, str]]:
    equalised = "histogram-equalised" if own.equalize else "as they are"
    return [
        ("grey levels", f"8 bits, {equalised}; dark is little radiation stopped"),
        ("normalisation", f"mean {own.mean:g}, standard deviation {own.std:g}, of [0, 1]"),
    ]


def _start(found: Evidence) -> str:
    """Say what a detector started from."""
    recipe = found.recipe
    assert isinstance(recipe, FinetuneRecipe)
    own = _STARTS[found.start]
    if recipe.init.backbone is None:
        return own
    return f"{own}, with the backbone `{recipe.init.backbone}`"


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.0%} to {ends[1]:.0%}"


def _entry(entry: Mapping[str, Any]) -> str:
    """Return a score with its interval, as far as it has them."""
    if entry["value"] is None:
        return "not known"
    if entry["low"] is None or entry["high"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
