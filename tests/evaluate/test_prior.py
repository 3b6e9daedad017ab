"""Fixed boxes beside detections: paired with them, and told apart in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrssl.core.errors import DataError
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.prior import verdict

DRAWS = Bootstrap(200, 1)
NUM = 20
# A finding that lies in one place on every film, and one that lies anywhere.
HEART = [40, 60, 40, 30]


def nodule(number: int) -> list[float]:
    return [float(number * 7 % 90), float(number * 13 % 90), 10.0, 10.0]


def document(first: int, *, names: tuple[str, ...] = ("heart", "nodule")) -> dict[str, Any]:
    numbers = range(first, first + NUM)
    images = [{"id": n, "file_name": f"film{n}.png", "width": 100, "height": 100} for n in numbers]
    boxes = [
        {"image_id": n, "category_id": k, "bbox": box}
        for n in numbers
        for k, box in ((5, HEART), (9, nodule(n)))
    ]
    categories = [{"id": k, "name": name} for k, name in zip((5, 9), names, strict=True)]
    return {"images": images, "categories": categories, "annotations": boxes}


def results(first: int, *, with_nodules: bool) -> list[dict[str, Any]]:
    """Return detections: hearts where they are, and most nodules where they are or none."""
    numbers = range(first, first + NUM)
    found = [{"image_id": n, "category_id": 5, "bbox": HEART, "score": 0.9} for n in numbers]
    nodules = [
        {"image_id": n, "category_id": 9, "bbox": nodule(n), "score": 0.8} for n in numbers if n % 6
    ]
    return found + (nodules if with_nodules else [])


def score(folder: Path, *, with_nodules: bool, train: dict[str, Any]) -> dict[str, Any]:
    contents = {"p": results(100, with_nodules=with_nodules), "t": document(100), "train": train}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return evaluate_files(
        folder / "p.json",
        folder / "t.json",
        consensus_iou=0.2,
        bootstrap=DRAWS,
        train_truth=folder / "train.json",
    )


def test_a_detector_of_positions_alone_is_not_told_from_fixed_boxes(tmp_path: Path) -> None:
    content = score(tmp_path, with_nodules=False, train=document(0))
    prior = content["prior"]
    assert prior["boxes"][0] == {
        "class": "heart",
        "bbox_fraction": [0.4, 0.6, 0.4, 0.3],
        "score": 1.0,
    }
    assert prior["metrics"]["AP50"]["value"] >= 0.5  # all hearts, by looking at none
    assert "By AP50 the detector is better" not in prior["verdict"]
    assert prior["fitted_on"] == f"the {NUM} images of {tmp_path}/train.json"


def test_a_detector_that_looks_is_told_from_them_on_the_same_draws(tmp_path: Path) -> None:
    content = score(tmp_path, with_nodules=True, train=document(0))
    prior = content["prior"]
    assert "By AP50 the detector is better than fixed boxes" in prior["verdict"]
    assert "By mean FROC sensitivity the detector is better" in prior["verdict"]
    gap = prior["differences"]["AP50"]
    own, other = content["metrics"]["AP50"], prior["metrics"]["AP50"]
    assert gap["delta"] == pytest.approx(own["value"] - other["value"])
    gaps = np.subtract(content["replicate_values"]["AP50"], prior["replicate_values"]["AP50"])
    half = 1.959964 * gaps.std(ddof=1)
    assert [gap["low"], gap["high"]] == pytest.approx(
        [gap["delta"] - half, gap["delta"] + half], abs=1e-4
    )


def test_classes_of_the_training_truth_are_found_by_name(tmp_path: Path) -> None:
    train = document(0, names=("nodule", "something else"))
    content = score(tmp_path, with_nodules=False, train=train)
    assert {box["class"] for box in content["prior"]["boxes"]} == {"nodule"}
    assert any(f"{NUM} boxes of classes that are not scored" in note for note in content["notes"])


def test_images_that_are_scored_too_are_warned_of(tmp_path: Path) -> None:
    content = score(tmp_path, with_nodules=False, train=document(95))
    assert any("15 of its images are scored as well" in text for text in content["warnings"])


def test_what_can_not_be_a_prior_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"40 boxes, none of a class of .*t\.json"):
        score(tmp_path, with_nodules=False, train=document(0, names=("a", "b")))
    train = document(0)
    del train["images"][3]["width"]
    with pytest.raises(DataError, match=r"1 of 20 images have no width and height, such as 3"):
        score(tmp_path, with_nodules=False, train=train)


def test_where_every_draw_gives_the_gap_exact_bounds_tell() -> None:
    gap = {"value": 1.0, "other": 0.0, "delta": 1.0, "low": None, "high": None, "reason": "."}
    found = {"low": 0.9, "high": 1.0, "exact_on": "40 images with a box"}
    fixed = {"low": 0.0, "high": 0.1, "exact_on": "40 images with a box"}
    assert "the detector is better than fixed boxes" in verdict("AP50", gap, found, fixed)
    few = verdict("AP50", gap, found | {"low": 0.05}, fixed)
    assert "the detector can't be told from fixed boxes" in few
    assert "the same on every draw; exact bounds on 40 images" in few
