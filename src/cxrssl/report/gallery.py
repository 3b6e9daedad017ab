"""Test images with what readers drew, their consensus, and what detectors find."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.config.plan import Plan
from cxrssl.core.records import read_json
from cxrssl.data.detection import Example, store_px
from cxrssl.data.store import Store
from cxrssl.drawing.embedded import data_uri
from cxrssl.report.results import FinishedArm, Results, Side
from cxrssl.report.wording import labels

# What the page can show; below it a detector says next to nothing, and pages grow large.
_LEAST_SCORE, _MOST_FOUND = 0.05, 40


def gallery_section(
    plan: Plan, results: Results, store: Store, test: Sequence[Example]
) -> dict[str, Any] | None:
    """Return the gallery, None if the plan wants none or no arm has finished."""
    shown = dict(_arms(plan, results))
    if not plan.gallery_images or not shown:
        return None
    rows = {example.image_id: example.row for example in test}
    found = {key: _predictions(arm, store, rows) for key, (_, arm) in shown.items()}
    chosen = _varied(test, plan.gallery_images)
    there, shows = (
        len({int(label) for example in some for label in example.labels}) for some in (test, chosen)
    )
    return {
        "classes": list(store.classes),
        "arms": [{"key": key, "title": title} for key, (title, _) in shown.items()],
        "note": (
            f"{len(chosen)} of {len(test)} test images, taken to show many classes: {shows} of the "
            f"{there} with test boxes. "
            f"Predictions of seed {plan.seeds[0]}, scored {_LEAST_SCORE} and more. "
            "The pictures are in this file: whoever gets it gets them."
        ),
        "images": [_image(store, example, found) for example in chosen],
    }


def _arms(plan: Plan, results: Results) -> Iterator[tuple[str, tuple[str, FinishedArm]]]:
    """Yield the arms whose predictions are shown: those of the answer, and all labels."""
    shares = dict.fromkeys((plan.answer.label_fraction, 1.0))
    for name, share in ((name, share) for share in shares for name in plan.initialisations):
        arms = [one for one in results.at(Side(name, share)) if one.arm.seed == plan.seeds[0]]
        if arms:
            title = f"{plan.initialisations[name].title}, {labels(share)} of the labels"
            yield arms[0].arm.name, (title, arms[0])


def _varied(test: Sequence[Example], count: int) -> list[Example]:
    """Return images that show each class, rarest first, then the first others."""
    held = np.bincount(np.concatenate([np.unique(example.labels) for example in test]))
    chosen: dict[int, Example] = {}
    for label in np.argsort(held, kind="stable"):
        having = [place for place, example in enumerate(test) if label in example.labels]
        if having and len(chosen) < count and not any(place in chosen for place in having):
            chosen[having[0]] = test[having[0]]
    for place, example in enumerate(test):
        if len(chosen) < count:
            chosen.setdefault(place, example)
    return [chosen[place] for place in sorted(chosen)]


def _predictions(
    arm: FinishedArm, store: Store, rows: Mapping[str, int]
) -> dict[str, list[list[float]]]:
    """Return boxes in store pixels, class and score of an arm by image, the strongest first.

    Runs of before wrote a list, in store pixels; now it is a data set, in original pixels.
    """
    content = read_json(arm.folder / "predictions.json")
    is_original = isinstance(content, dict)
    found: dict[str, list[list[float]]] = {}
    for entry in content["annotations"] if is_original else content:
        name = entry["image_id"]
        if entry["score"] >= _LEAST_SCORE and name in rows:
            x, y, width, height = entry["bbox"]
            corners = np.array([[x, y, x + width, y + height]])
            box = store_px(corners, store, rows[name]) if is_original else corners
            row = [*_rounded(box)[0], entry["category_id"] - 1, round(entry["score"], 3)]
            found.setdefault(name, []).append(row)
    return {name: sorted(rows, key=lambda r: -r[5])[:_MOST_FOUND] for name, rows in found.items()}


def _image(
    store: Store, example: Example, found: dict[str, dict[str, list[list[float]]]]
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
        "src": data_uri(pixels),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "truth": [
            {"box": box, "label": int(label), "support": int(support)}
            for box, label, support in zip(
                _rounded(example.boxes), example.labels, example.support, strict=True
            )
        ],
        "readers": [{"name": name, "boxes": boxes} for name, boxes in readers.items()],
        "found": {key: rows.get(example.image_id, []) for key, rows in found.items()},
    }


def _rounded(boxes: NDArray[np.floating]) -> list[list[float]]:
    return [[round(float(value), 1) for value in box] for box in boxes]
