"""The loop of `finetune`: validation, what is kept, schedules, precisions, all families."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxrssl.config.load import to_yaml
from cxrssl.core.errors import DataError, TrainingError
from cxrssl.data.detection import Example
from cxrssl.data.loaders import DetectionImages
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import evaluate, values_of
from cxrssl.evaluate.detect import ImageDetections, detect, detect_in_turn
from cxrssl.finetune import finetune, validation
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import load_detector
from cxrssl.models.weights import tensors_sha256
from support import FCOS, ROOT, RTDETR, finetune_recipe

QUICK = ("batch_size=8", "epochs=3", "model.score_threshold=0.0")


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def fingerprint(detector: Detector) -> str:
    state = detector.model.state_dict()
    return tensors_sha256(state, order=sorted(state))


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_product_is_the_best_or_the_last_as_the_recipe_says(
    keep: str, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprints: list[str] = []
    # The trial before the first step, and three epochs of which the second is the best.
    scores = iter([None, 0.1, 0.3, 0.2])

    def watched(
        detector: Detector, store: Store, examples: Sequence[Example], **processes: int
    ) -> list[ImageDetections]:
        fingerprints.append(fingerprint(detector))
        return detect_in_turn(detector, store, examples, **processes)

    def fixed_scores(*_: object, **__: object) -> dict[str, float | None]:
        return dict.fromkeys(("AP", "AP50", "AR100"), next(scores))

    monkeypatch.setattr(validation, "detect_in_turn", watched)
    monkeypatch.setattr(validation, "values_of", fixed_scores)
    recipe = finetune_recipe(store_folder, *QUICK, "validate_every_epochs=1", f"keep={keep}")
    run = tmp_path / "run"
    product = finetune(recipe, run, resume=False)
    logged = [line["val_AP"] for line in lines_of(run) if "val_AP" in line]
    assert logged == [0.1, 0.3, 0.2]
    assert len(set(fingerprints[:4])) == 4
    expected = {"best": fingerprints[2], "last": fingerprints[3]}[keep]
    assert fingerprint(load_detector(product)) == expected == fingerprints[4]
    assert fingerprint(load_detector(run / "best")) == fingerprints[2]
    assert (run / "metrics.json").is_file()


def test_a_broken_evaluation_fails_before_the_first_step(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DataError("no metric today")

    monkeypatch.setattr(validation, "values_of", broken)
    with pytest.raises(DataError, match="no metric today"):
        finetune(finetune_recipe(store_folder, *QUICK), tmp_path / "run", resume=False)
    assert lines_of(tmp_path / "run") == []


@pytest.mark.slow
def test_a_validation_before_training_changes_nothing_of_it(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = finetune_recipe(store_folder, "max_steps=4")
    with_trial = finetune(recipe, tmp_path / "a", resume=False)
    monkeypatch.setattr(validation.Validation, "check_first", lambda *_, **__: None)
    without = finetune(recipe, tmp_path / "b", resume=False)
    assert fingerprint(load_detector(with_trial)) == fingerprint(load_detector(without))


@pytest.mark.slow
def test_the_rate_falls_after_the_epochs_that_the_recipe_names(
    store_folder: Path, tmp_path: Path
) -> None:
    changes = ("optim.schedule=steps", "optim.drop_epochs=[1, 2]", "optim.warmup_steps=0")
    recipe = finetune_recipe(store_folder, *QUICK, *changes, "data.oversample_threshold=0.4")
    finetune(recipe, tmp_path / "run", resume=False)
    rates: dict[int, set[float]] = {}
    for line in lines_of(tmp_path / "run"):
        rates.setdefault(line["epoch"], set()).add(line["lr"])
    expected = {0: 1e-3, 1: 1e-4, 2: 1e-5}
    assert {epoch: len(of_epoch) for epoch, of_epoch in rates.items()} == {0: 1, 1: 1, 2: 1}
    assert all(rates[epoch].pop() == pytest.approx(lr) for epoch, lr in expected.items())


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_part(
    store_folder: Path, tmp_path: Path
) -> None:
    changes = ("optim.name=sgd", "optim.peak_lr=1e30", "optim.clip_norm=null", "max_steps=30")
    recipe = finetune_recipe(store_folder, *changes, "optim.warmup_steps=0")
    with pytest.raises(TrainingError, match=r"not finite at step \d+: .*loss_\w+ = (nan|inf)"):
        finetune(recipe, tmp_path / "run", resume=False)


def test_an_rtdetr_whose_weights_broke_says_so(store_folder: Path, tmp_path: Path) -> None:
    changes = (RTDETR, "optim.name=sgd", "optim.peak_lr=1e30", "optim.clip_norm=null")
    recipe = finetune_recipe(store_folder, *changes, "max_steps=30", "optim.warmup_steps=0")
    with pytest.raises(TrainingError, match=r"loss_bbox.*Lower optim\.peak_lr"):
        finetune(recipe, tmp_path / "run", resume=False)


@pytest.mark.slow
def test_a_best_detector_there_is_whenever_epochs_end(store_folder: Path, tmp_path: Path) -> None:
    changes = ("validate_every_epochs=9", "keep=best", "max_steps=2")
    run = tmp_path / "run"
    product = finetune(finetune_recipe(store_folder, *changes), run, resume=False)
    assert [line["step"] for line in lines_of(run) if "val_AP" in line] == [2]
    assert fingerprint(load_detector(product)) == fingerprint(load_detector(run / "best"))


def test_anchors_and_boxes_keep_their_pixels_in_half_precision(store: Store) -> None:
    recipe = finetune_recipe(store.folder)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    detector, _ = initial_detector(recipe, store, images, torch.device("cpu"))
    model, dtypes = detector.model.train(), []
    filtered = model.rpn.filter_proposals

    def watched(proposals: torch.Tensor, *arguments: Any) -> Any:  # noqa: ANN401
        dtypes.append(proposals.dtype)
        return filtered(proposals, *arguments)

    model.rpn.filter_proposals = watched
    target = {"boxes": torch.tensor([[3.3, 3.1, 40.7, 50.9]]), "labels": torch.tensor([1])}
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([torch.rand(3, 64, 64)], [target])
        maps = model.backbone(torch.rand(1, 3, 64, 64))
        detections = model.eval()([torch.rand(3, 64, 64)])
    assert dtypes == [torch.float32] * 2
    assert {feature_map.dtype for feature_map in maps.values()} == {torch.float32}
    assert detections[0]["boxes"].dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in losses.values())


@pytest.mark.slow
@pytest.mark.parametrize("align", ["torchvision", "sparse"])
def test_half_precision_trains(align: str, store_folder: Path, tmp_path: Path) -> None:
    changes = ("max_steps=3", f"model.roi_align={align}", "model.box_loss=l1")
    full, half = tmp_path / "full", tmp_path / "half"
    finetune(finetune_recipe(store_folder, *changes), full, resume=False)
    # A process has one precision for good.
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(finetune_recipe(store_folder, *changes, "precision=bf16")))
    command = [sys.executable, "-m", "cxrssl", "finetune", str(recipe), "--out", str(half)]
    subprocess.run(command, check=True, cwd=ROOT)
    lines = lines_of(half)
    parts = [name for name in lines[0] if name.startswith("loss_")]
    assert len(parts) == 4
    # What is scored is what was written, in full precision.
    scored = json.loads((half / "metrics.json").read_text())
    again = evaluate(
        half, store_folder, split="test", fusion="consensus", consensus_iou=0.2, normals=True
    )
    assert again["metrics"] == scored["metrics"]
    first = lines_of(full)[0]
    assert any(lines[0][name] != first[name] for name in parts)
    assert all(lines[0][name] == pytest.approx(first[name], rel=0.1, abs=0.05) for name in parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (RTDETR, {"loss_vfl", "loss_bbox", "loss_giou"}),
        (FCOS, {"loss_classification", "loss_bbox_regression", "loss_bbox_ctrness"}),
    ],
)
def test_another_family_is_trained_scored_and_evaluated_as_the_first(
    family: str, expected: set[str], store_folder: Path, tmp_path: Path
) -> None:
    recipe = finetune_recipe(store_folder, family, "max_steps=4", "validate_every_epochs=1")
    product = finetune(recipe, tmp_path / "run", resume=False)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    scores = evaluate(
        product, store_folder, split="test", fusion="consensus", consensus_iou=0.2, normals=True
    )
    assert scores["metrics"] == metrics["metrics"]
    assert len(json.loads((tmp_path / "run" / "predictions.json").read_text())["annotations"]) > 0
    losses = {name for name in lines_of(tmp_path / "run")[0] if name.startswith("loss_")}
    assert losses == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "least_side_px"),
    [
        (RTDETR.replace("width: 32", "width: 64").replace("norm: recalibrated", "norm: bn"), 0),
        # Narrower boxes lie between the places of its finest map, at stride 4.
        (FCOS.replace("fpn_channels: 32", "fpn_channels: 64"), 5),
    ],
    ids=["rtdetr", "fcos"],
)
def test_another_family_learns_four_images_by_heart(
    family: str, least_side_px: int, store: Store, store_folder: Path
) -> None:
    recipe = finetune_recipe(store_folder, family)
    train = [
        example
        for example in labelled_splits(store, recipe).train
        if np.all(example.boxes[:, 2:] - example.boxes[:, :2] >= least_side_px)
    ]
    images, _ = training_images(store, train, recipe)
    detector, _ = initial_detector(recipe, store, images, torch.device("cpu"))
    most_boxes_first = sorted(train, key=lambda e: -len(e.boxes))
    four = most_boxes_first[:4] if least_side_px else most_boxes_first[4:8]
    assert sum(len(example.boxes) for example in four) > 8
    shown = DetectionImages(store, four, detector.intensity, flip_probability=0.0, seed=0)
    pixels, targets = zip(*(shown[Visit(0, row)] for row in range(4)), strict=True)
    grey = [image.float().div(255).expand(3, -1, -1) for image in pixels]
    optimizer = torch.optim.AdamW(detector.model.parameters(), lr=1e-3)
    torch.manual_seed(0)  # of RT-DETR's noisy queries
    detector.model.train()
    for _ in range(400):
        losses = detector.model(grey, list(targets))
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(detector.model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    detections = detect(detector, store, four)
    score = values_of(detections, four, store)["AP50"]
    assert score > 0.9
