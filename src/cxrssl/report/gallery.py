"""Test images with what readers drew, their consensus, and what detectors find."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrssl.config.plan import Plan
from cxrssl.core.images import Pixels
from cxrssl.core.records import read_json
from cxrssl.data.detection import Example, store_px
from cxrssl.data.store import Store
from cxrssl.report.results import Condition, FinishedArm, Results
from cxrssl.report.wording import label_percent

# What the page can show; below it a detector says next to nothing, and pages grow large.
_LEAST_SCORE, _MOST_FOUND = 0.05, 40
_JPEG_QUALITY = 88


def gallery_section(
    plan: Plan, results: Results, store: Store, test: Sequence[Example]
) -> dict[str, Any] | None:
    """Return the gallery, None if the plan wants none or no arm has finished."""
    shown = dict(_arms(plan, results))
    if not plan.gallery_images or not shown:
        return None
    rows = {example.image_id: example.row for example in test}
    predictions = {key: _predictions(arm, store, rows) for key, (_, arm) in shown.items()}
    chosen = _varied_examples(test, plan.gallery_images)
    num_classes, num_shown = (
        len({int(label) for example in some for label in example.labels}) for some in (test, chosen)
    )
    return {
        "classes": list(store.classes),
        "arms": [{"key": key, "title": title} for key, (title, _) in shown.items()],
        "note": (
            f"{len(chosen)} of {len(test)} test images, taken to show many classes: {num_shown} "
            f"of the {num_classes} with test boxes. "
            f"Predictions of seed {plan.seeds[0]}, scored {_LEAST_SCORE} and more. "
            "The images are in this file: who gets the file gets them."
        ),
        "images": [_image(store, example, predictions) for example in chosen],
    }


def _arms(plan: Plan, results: Results) -> Iterator[tuple[str, tuple[str, FinishedArm]]]:
    """Yield the arms whose predictions are shown: those of the answer, and all labels."""
    fractions = dict.fromkeys((plan.answer.label_fraction, 1.0))
    for fraction, (name, treatment) in product(fractions, plan.treatments.items()):
        for finished in results.at(Condition(name, fraction)):
            if finished.arm.seed == plan.seeds[0]:
                title = f"{treatment.title}, {label_percent(fraction)} of the labels"
                yield finished.arm.name, (title, finished)


def _varied_examples(test: Sequence[Example], count: int) -> list[Example]:
    """Return images that show each class, rarest first, then the first others."""
    images_per_class = np.bincount(np.concatenate([np.unique(example.labels) for example in test]))
    chosen: dict[int, Example] = {}
    for label in np.argsort(images_per_class, kind="stable"):
        positions = [position for position, example in enumerate(test) if label in example.labels]
        if (
            positions
            and len(chosen) < count
            and not any(position in chosen for position in positions)
        ):
            chosen[positions[0]] = test[positions[0]]
    for position, example in enumerate(test):
        if len(chosen) < count:
            chosen.setdefault(position, example)
    return [chosen[position] for position in sorted(chosen)]


def _predictions(
    arm: FinishedArm, store: Store, rows: Mapping[str, int]
) -> dict[str, list[list[float]]]:
    """Return boxes in store pixels, class and score of an arm by image, the strongest first.

    Runs of before wrote a list, in store pixels; now it is a data set, in original pixels.
    """
    by_image: dict[str, list[list[float]]] = {}
    for folder in arm.folders:
        content = read_json(folder / "predictions.json")
        is_original = isinstance(content, dict)
        for entry in content["annotations"] if is_original else content:
            name = entry["image_id"]
            if entry["score"] >= _LEAST_SCORE and name in rows:
                x, y, width, height = entry["bbox"]
                corners = np.array([[x, y, x + width, y + height]])
                box = store_px(corners, store, rows[name]) if is_original else corners
                row = [*_rounded(box)[0], entry["category_id"] - 1, round(entry["score"], 3)]
                by_image.setdefault(name, []).append(row)
    return {
        name: sorted(rows, key=lambda r: -r[5])[:_MOST_FOUND] for name, rows in by_image.items()
    }


def _image(
    store: Store, example: Example, predictions: dict[str, dict[str, list[list[float]]]]
) -> dict[str, Any]:
    pixels = store.pixels(example.row)
    readers = {
        reader: [
            {"box": box, "label": int(label)}
            for box, label, name in zip(
                _rounded(example.reader_boxes), example.reader_labels, example.readers, strict=True
            )
            if name == reader
        ]
        for reader in dict.fromkeys(example.readers)
    }
    return {
        "id": example.image_id,
        "src": _data_uri(pixels),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "truth": [
            {"box": box, "label": int(label), "support": int(support)}
            for box, label, support in zip(
                _rounded(example.boxes), example.labels, example.support, strict=True
            )
        ],
        "readers": [{"name": name, "boxes": boxes} for name, boxes in readers.items()],
        "found": {key: rows.get(example.image_id, []) for key, rows in predictions.items()},
    }


def _data_uri(pixels: Pixels) -> str:
    """Return a grey image [H, W] uint8 as a JPEG in a data: URI."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format="JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _rounded(boxes: NDArray[np.floating]) -> list[list[float]]:
    return [[round(float(value), 1) for value in box] for box in boxes]
