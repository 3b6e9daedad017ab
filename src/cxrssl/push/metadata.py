"""The metadata of cards: YAML that the Hub reads, with `model-index`. A door to huggingface_hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from cxrssl.core.hub_address import PREFIX
from cxrssl.data.licence_terms import Origin
from cxrssl.push.texts import DATA_TITLES, NO_LICENCE

_TAGS = ["chest-x-ray", "radiology", "medical", "cxrssl"]
_METRICS = (
    ("AP", "map", "mAP at IoU 0.50:0.95"),
    ("AP50", "map_50", "mAP at IoU 0.50"),
    ("AR100", "mar_100", "mean recall of 100 detections an image"),
)


def model_metadata(
    *,
    licence: str,
    library: str,
    task: str,
    tags: Sequence[str],
    name: str,
    origin: Origin | None,
    scores: Mapping[str, Any] | None,
    transfers: Sequence[Mapping[str, Any]],
) -> str:
    """Return the metadata of a model.

    Args:
        licence: The Hub's identifier of the licence.
        library: Library that opens the model.
        task: The Hub's name of the task.
        tags: Tags beside those that all models have.
        name: Name of the model.
        origin: Source of its test images.
        scores: Entry `metrics` of its metrics.json, None without scores.
        transfers: Weights that it started from; a model of the Hub among them is its base.
    """
    results = [] if scores is None else list(_results(scores, origin))
    data = ModelCardData(
        license=licence,
        license_name=_licence_name(licence),
        library_name=library,
        pipeline_tag=task,
        tags=[*_TAGS, *tags],
        base_model=_base(transfers),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def data_metadata(
    *, licence: str, name: str, num_images: int, splits: Mapping[str, str], images: bool
) -> str:
    """Return the metadata of a data set.

    Args:
        licence: The Hub's identifier of the licence.
        name: Title of the data set.
        num_images: Number of images in all splits.
        splits: Pattern of the files of each split.
        images: Whether it has the images' pixels.
    """
    files = [{"split": split, "path": path} for split, path in splits.items()]
    data = DatasetCardData(
        license=licence,
        license_name=_licence_name(licence),
        pretty_name=name,
        task_categories=["object-detection"],
        size_categories=[_size(num_images)],
        tags=[*_TAGS, *([] if images else ["annotations-only"])],
        configs=[{"config_name": "default", "data_files": files}],
    )
    return str(data.to_yaml())


def _licence_name(licence: str) -> str | None:
    # The Hub wants a name where it is one that it does not know.
    return "unstated" if licence == NO_LICENCE else None


def _results(scores: Mapping[str, Any], origin: Origin | None) -> list[EvalResult]:
    title = DATA_TITLES[origin]
    slug = {"phantom": "cxrssl-phantom", "VinDr-CXR": "vindr-cxr"}.get(origin or "", "unknown")
    results = []
    for key, kind, name in _METRICS:
        entry = scores[key]
        if entry["value"] is not None:
            results.append(
                EvalResult(
                    task_type="object-detection",
                    dataset_type=slug,
                    dataset_name=title,
                    dataset_split="test",
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(entry["value"], 4),
                    metric_args=_interval(entry),
                )
            )
    return results


def _interval(entry: Mapping[str, Any]) -> dict[str, list[float]] | None:
    if entry["low"] is None or entry["high"] is None:
        return None
    return {"interval_95": [round(entry["low"], 4), round(entry["high"], 4)]}


def _base(transfers: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the repository of the last weights that came from the Hub."""
    for record in reversed(transfers):
        source = str(record["source"])
        if source.startswith(PREFIX):
            return source.removeprefix(PREFIX).partition("@")[0]
        if source.startswith("timm "):
            return source.replace("timm ", "timm/", 1)
    return None


def _size(num_images: int) -> str:
    for most, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if num_images < most:
            return name
    return "100K<n<1M"
