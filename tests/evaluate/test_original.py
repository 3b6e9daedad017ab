"""A store's detections in original pixels: what is scored is written, and means the same boxes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from cxrssl.config.load import to_yaml
from cxrssl.core.files import write_json
from cxrssl.data.detection import Example, examples_of
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import scores_of
from cxrssl.evaluate.detect import ImageDetections, detections_of
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.original import in_original_px, write_predictions
from cxrssl.evaluate.settings import Settings, settings_of
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings as StoreSettings
from cxrssl.metrics.annotations import Truth
from cxrssl.metrics.scores import ScoreTable
from support import finetune_recipe

AS_SCORED = Settings("test", "consensus", 0.2, normals=True)


@pytest.fixture(scope="module", params=["squash", "letterbox"])
def store(
    source: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    folder = tmp_path_factory.mktemp("original") / "store"
    ingest(source, folder, StoreSettings(64, request.param), num_workers=1)
    return Store(folder)


@pytest.fixture(scope="module")
def examples(store: Store) -> list[Example]:
    return examples_of(store, fusion="consensus", iou=0.2)


@pytest.fixture(scope="module")
def detections(examples: list[Example]) -> list[ImageDetections]:
    """Return the true boxes in store pixels, somewhat moved, and false ones, inside the image."""
    rng = np.random.default_rng(0)
    entries = []
    for example in examples:
        moved = example.boxes + rng.normal(0, 0.4, example.boxes.shape)
        lost = np.tile([20.0, 20.0, 30.0, 40.0], (2, 1)) + rng.uniform(0, 4, (2, 4))
        boxes = np.concatenate([moved, lost])
        labels = np.concatenate([example.labels, [0, 1]]) + 1
        entries.append(
            ImageDetections(
                boxes=torch.tensor(boxes, dtype=torch.float32),
                scores=torch.tensor(rng.uniform(0, 1, len(boxes)), dtype=torch.float32),
                labels=torch.tensor(labels),
            )
        )
    return entries


def users_truth(store: Store, examples: list[Example]) -> dict[str, Any]:
    """Return the consensus as somebody else has it: other ids, other order, files with suffixes."""
    number_of = {label: 90 - label for label in range(len(store.classes))}
    numbers = {example.image_id: 500 - n for n, example in enumerate(examples)}
    return {
        "images": [
            {"id": numbers[e.image_id], "file_name": f"films/{e.image_id}.png"} for e in examples
        ],
        "categories": [
            {"id": number_of[label], "name": name} for label, name in enumerate(store.classes)
        ],
        "annotations": [
            {
                "image_id": numbers[example.image_id],
                "category_id": number_of[label],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            for example in examples
            for (x0, y0, x1, y1), label in zip(
                example.boxes_original_px.tolist(), example.labels.tolist(), strict=True
            )
        ],
    }


def test_predictions_are_right_against_a_truth_in_original_pixels(
    store: Store, examples: list[Example], detections: list[ImageDetections], tmp_path: Path
) -> None:
    scores = scores_of(detections, examples, store, settings=AS_SCORED, train=examples)
    boxes = in_original_px(detections, examples, store)
    write_predictions(tmp_path / "predictions.json", boxes, examples, store)
    write_json(tmp_path / "truth.json", users_truth(store, examples))
    again = evaluate_files(
        tmp_path / "predictions.json",
        tmp_path / "truth.json",
        consensus_iou=0.2,
        bootstrap=Bootstrap(0),
    )
    for name in ("AP", "AP50", "AR100", "AP_large", "AR100_agnostic", "best_iou_mean", "ece"):
        value = scores["metrics"][name]["value"]
        assert again["metrics"][name]["value"] == pytest.approx(value, abs=1e-12), name
    assert scores["metrics"]["AP50"]["value"] > 0.3
    assert again["warnings"] == ()
    assert any("matched by file name" in note for note in again["notes"])
    assert any("matched by name" in note for note in again["notes"])


def test_what_is_written_is_a_coco_data_set_with_sizes_and_scores(
    store: Store, examples: list[Example], detections: list[ImageDetections], tmp_path: Path
) -> None:
    boxes = in_original_px(detections, examples, store)
    write_predictions(tmp_path / "predictions.json", boxes, examples, store)
    coco = COCO(str(tmp_path / "predictions.json"))
    assert len(coco.loadRes(coco.dataset["annotations"]).anns) == sum(
        len(of_image["boxes"]) for of_image in detections
    )
    assert [kind["name"] for kind in coco.dataset["categories"]] == list(store.classes)
    for image, example in zip(coco.dataset["images"], examples, strict=True):
        original = store.images[example.row]
        assert (image["id"], image["width"], image["height"]) == (
            *(example.image_id, original.original_width, original.original_height),
        )
    for annotation in coco.dataset["annotations"]:
        x, y, width, height = annotation["bbox"]
        image = coco.imgs[annotation["image_id"]]
        assert 0 <= x <= x + width <= image["width"] + 0.011
        assert 0 <= y <= y + height <= image["height"] + 0.011
        assert annotation["area"] == pytest.approx(width * height, abs=0.006)


def test_overlaps_are_those_of_store_pixels_and_sizes_are_not(
    store: Store, examples: list[Example], detections: list[ImageDetections]
) -> None:
    inputs = inputs_of_store(store, examples)
    corners = np.concatenate([e.boxes for e in examples]).astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    truth = inputs.truth
    store_truth = Truth(
        truth.images,
        truth.labels,
        boxes,
        boxes[:, 2] * boxes[:, 3],
        truth.crowd,
        truth.support,
        truth.num_images,
        truth.num_classes,
    )
    ones = np.ones(len(examples))
    ours = ScoreTable(truth, in_original_px(detections, examples, store))(ones).overall
    theirs = ScoreTable(store_truth, detections_of(detections))(ones).overall
    for name in ("AP50", "AR100_agnostic", "froc_at_1", "best_iou_mean"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.01), name  # of 0.01 px
    assert np.isnan(theirs["AP_large"])  # in a square of 64 px nothing has 96^2
    assert not np.isnan(ours["AP_large"])


def test_settings_are_those_of_the_run_and_what_is_asked_for_wins(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "detector").mkdir(parents=True)
    assert settings_of(run)[0] == Settings("test", "consensus", 0.2, normals=False)
    changes = ("data.fusion=majority:2", "data.consensus_iou=0.3", "data.normals=true")
    (run / "recipe.yaml").write_text(to_yaml(finetune_recipe(tmp_path, *changes)))
    for folder in (run, run / "detector"):
        settings, remarks = settings_of(folder)
        assert settings == Settings("test", "majority:2", 0.3, normals=True)
        assert "fusion majority:2, consensus_iou 0.3, normals true" in remarks.notes[0]
        assert str(run / "recipe.yaml") in remarks.notes[0]
    settings, remarks = settings_of(run, "val", fusion="union", normals=False)
    assert settings == Settings("val", "union", 0.3, normals=False)
    assert "normals false (the run has true)" in remarks.notes[0]
    assert "scored on the val split with fusion union (the run has majority:2)" in remarks.notes[0]
    (run / "recipe.yaml").write_text("task: [")
    settings, remarks = settings_of(run)
    assert settings == Settings("test", "consensus", 0.2, normals=False)
    assert "the settings of the run are not known" in remarks.warnings[0]


@pytest.mark.slow
def test_settings_are_in_the_scores(
    store: Store, examples: list[Example], detections: list[ImageDetections]
) -> None:
    scores = scores_of(detections, examples, store, settings=AS_SCORED, train=examples)
    assert {name: scores[name] for name in ("split", "fusion", "consensus_iou", "normals")} == {
        **{"split": "test", "fusion": "consensus", "consensus_iou": 0.2, "normals": True},
    }
    json.dumps(scores, allow_nan=False)
