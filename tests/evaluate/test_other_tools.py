"""Results as YOLO, RF-DETR and others write them, by their descriptions, against a COCO truth."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap

NUM = 12
CLASSES = ("effusion", "mass", "nodule")
BOX = [10.0, 10.0, 30.0, 30.0]


def truth(stem: str = "film{}", *, first_class: int = 1, extra: bool = False) -> dict[str, Any]:
    """Return a truth whose ids have nothing to do with its file names."""
    categories = [{"id": first_class + k, "name": name} for k, name in enumerate(CLASSES)]
    if extra:  # as Roboflow writes it
        for category in categories:
            category["supercategory"] = "findings"
        categories.insert(0, {"id": 0, "name": "findings", "supercategory": "none"})
    images = [
        {"id": 500 + n, "file_name": f"{stem.format(n)}.png", "width": 100, "height": 100}
        for n in range(NUM)
    ]
    boxes = [
        {"id": n, "image_id": 500 + n, "category_id": first_class + n % 3, "bbox": BOX}
        for n in range(NUM)
    ]
    return {"images": images, "categories": categories, "annotations": boxes}


def yolo(
    stem: str = "film{}", *, first_class: int = 1, file_name: bool = False
) -> list[dict[str, Any]]:
    """Return what `yolo val save_json=True` writes: the stem as id, a number if it is one."""
    rows = []
    for n in range(NUM):
        name = stem.format(n)
        row: dict[str, Any] = {"image_id": int(name) if name.isnumeric() else name}
        if file_name:
            row["file_name"] = f"{name}.png"
        row |= {"category_id": first_class + n % 3, "bbox": BOX, "score": round(0.9 - n / 99, 5)}
        rows.append(row)
    return rows


def scored(folder: Path, predictions: object, of: object) -> dict[str, Any]:
    (folder / "p.json").write_text(json.dumps(predictions))
    (folder / "t.json").write_text(json.dumps(of))
    paths = folder / "p.json", folder / "t.json"
    return evaluate_files(*paths, consensus_iou=0.2, bootstrap=Bootstrap(0))


@pytest.mark.parametrize("stem", ["film{}", "{}", "000{}", "1.2.840.{}"])
@pytest.mark.parametrize("file_name", [False, True])
def test_a_yolo_s_images_are_found_by_their_stems(
    tmp_path: Path, stem: str, file_name: bool
) -> None:
    content = scored(tmp_path, yolo(stem, file_name=file_name), truth(stem))
    assert content["metrics"]["AP50"]["value"] == pytest.approx(1)
    assert any("was matched by file name" in note for note in content["notes"])
    assert not content["warnings"]


def test_classes_that_an_old_yolo_counts_from_0_are_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"category ids seem to begin at 0.* Add 1 to each"):
        scored(tmp_path, yolo(first_class=0), truth())
    with pytest.raises(DataError, match=r"category ids seem to begin at 1.* Subtract 1 from each"):
        scored(tmp_path, yolo(), truth(first_class=0))


def test_ids_that_fit_and_are_shifted_all_the_same_are_warned_of(tmp_path: Path) -> None:
    # Counted from 0 and without any of class 0: what is left are ids that the truth has.
    rows = [row for row in yolo(first_class=0) if row["category_id"]]
    content = scored(tmp_path, rows, truth())
    (warning,) = [text for text in content["warnings"] if "shifted by one" in text]
    assert "8 true boxes are found by detections of the category before their own" in warning
    assert "Add 1 to each of the detections" in warning
    up = [row | {"category_id": row["category_id"] + 1} for row in yolo() if row["category_id"] < 3]
    warnings = scored(tmp_path, up, truth())["warnings"]
    assert any("Subtract 1 from each of the detections" in text for text in warnings)
    assert not scored(tmp_path, yolo(), truth())["warnings"]


def test_rf_detr_results_on_roboflow_s_files_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"image_id": 500 + n, "category_id": 1 + n % 3, "bbox": BOX, "score": 0.5}
        for n in range(NUM)
    ]
    content = scored(tmp_path, rows, truth(extra=True))
    assert content["metrics"]["AP50"]["value"] == pytest.approx(1)
    assert list(content["classes"]) == list(CLASSES)
    assert any("'findings'" in note or "findings" in note for note in content["notes"])
