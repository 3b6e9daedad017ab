"""Both loops on a real store: weights arrive, a killed run goes on bit for bit, and they learn."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import DataError, RunError, TransferError
from cxrssl.data.detection import splits_of
from cxrssl.data.loaders import DetectionImages
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import evaluate, values_of
from cxrssl.evaluate.detect import detect
from cxrssl.finetune import finetune
from cxrssl.finetune.initial_detector import initial_detector
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.ingest.shards import Settings
from cxrssl.models.detector import Detector
from cxrssl.pretrain import pool_images, pretrain
from support import finetune_recipe, pretrain_recipe

QUICK = ("batch_size=8", "epochs=1")


@pytest.fixture(scope="module")
def pretrained(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "run"
    pretrain(pretrain_recipe(store_folder), out, resume=False)
    return out


def test_pretraining_leaves_a_whole_run_folder(pretrained: Path) -> None:
    names = {path.name for path in pretrained.iterdir()}
    assert names >= {
        "recipe.yaml", "provenance.json", "metrics.jsonl", "metrics.json", "transfer.json",
        "checkpoints", "backbone",
    }  # fmt: skip
    metrics = json.loads((pretrained / "metrics.json").read_text())
    assert 0 < metrics["loss"] < metrics["chance_loss"] + 0.5
    lines = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    health = [line for line in lines if "rankme" in line]
    # Before the first step, and after each of the two epochs; the phantom's findings are known.
    assert [line["step"] for line in health] == [0, metrics["num_steps"] // 2, metrics["num_steps"]]
    assert [health[0]["rankme"], health[-1]["rankme"]] == [
        metrics["rankme_start"],
        metrics["rankme"],
    ]
    assert all(0 <= line["knn_findings"] <= 1 for line in health)
    assert all(0 <= line["probe_auroc"] <= 1 for line in health)
    assert [health[0]["probe_auroc"], health[-1]["probe_auroc"], health[-1]["probe_findings"]] == [
        metrics[name] for name in ("probe_auroc_start", "probe_auroc", "probe_findings")
    ]
    assert health[0]["rankme"] > 5  # settled: without statistics it is 2
    provenance = json.loads((pretrained / "provenance.json").read_text())
    assert provenance["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_detector_begins_with_the_pretrained_weights_and_its_control_does_not(
    store_folder: Path, store: Store, pretrained: Path
) -> None:
    trained = load_file(pretrained / "backbone" / "model.safetensors")
    control = finetune_recipe(store_folder)
    ssl = finetune_recipe(store_folder, f"init.backbone={pretrained / 'backbone'}")
    (with_ssl, record), (without, nothing) = (started(r, store) for r in (ssl, control))
    first, second = with_ssl.model, without.model
    assert all(torch.equal(v, trained[k]) for k, v in with_ssl.body.state_dict().items())
    assert record["transfers"][0]["arrived"]
    assert len(record["transfers"][0]["matched"]) == len(trained)
    assert nothing["transfers"] == []
    # All but the body is the same in both arms, so only the pretraining sets them apart.
    heads = [k for k in first.state_dict() if not k.startswith("backbone.body")]
    assert len(heads) > 20
    assert all(torch.equal(first.state_dict()[k], second.state_dict()[k]) for k in heads)
    assert not torch.equal(with_ssl.body.conv1[0].weight, without.body.conv1[0].weight)


def started(recipe: FinetuneRecipe, store: Store) -> tuple[Detector, dict[str, Any]]:
    """Return a recipe's detector as it starts, and the record of it."""
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    detector, record = initial_detector(recipe, store, images, torch.device("cpu"))
    assert record is not None
    return detector, record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("intensity.mean=0.4", "was trained on Intensity.*Both phases need the same grey levels"),
        ("model.backbone=resnet10t", "is a test_resnet; the recipe has a resnet10t"),
    ],
)
def test_a_backbone_that_does_not_fit_stops_the_run_before_it_begins(
    store_folder: Path, pretrained: Path, tmp_path: Path, change: str, message: str
) -> None:
    recipe = finetune_recipe(store_folder, f"init.backbone={pretrained / 'backbone'}", change)
    with pytest.raises(TransferError, match=message):
        finetune(recipe, tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_finetuning_ends_with_scores_that_eval_repeats(
    store_folder: Path, store: Store, tmp_path: Path
) -> None:
    recipe = finetune_recipe(store_folder, *QUICK, "model.score_threshold=0.0")
    folder = finetune(recipe, tmp_path / "run", resume=False)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    again = evaluate(
        folder, store_folder, split="test", fusion="consensus", consensus_iou=0.2, normals=True
    )
    assert again["metrics"] == metrics["metrics"]
    assert again["per_class"] == metrics["per_class"]
    inherited = evaluate(tmp_path / "run", store_folder)
    assert inherited["metrics"] == metrics["metrics"]
    assert inherited["prior"] == metrics["prior"] == again["prior"]
    assert metrics["prior"]["n_training_images"] == metrics["train_images"]
    assert metrics["prior"]["n_training_boxes"] == metrics["train_boxes"]
    for name in ("split", "normals", "fusion", "consensus_iou"):
        assert inherited[name] == metrics[name] == again[name]
    without_normals = evaluate(tmp_path / "run", store_folder, normals=False)
    assert (
        without_normals["n_images_without_findings"] == 0 < inherited["n_images_without_findings"]
    )
    assert "normals false (the run has true)" in without_normals["notes"][0]
    test = labelled_splits(store, recipe).test
    predictions = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert [entry["id"] for entry in predictions["images"]] == [e.image_id for e in test]
    assert len(predictions["annotations"]) > 0
    with pytest.raises(RunError, match="holds a finished run"):
        finetune(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize("loop", [pretrain, finetune])
def test_a_run_cut_after_its_last_step_takes_none_again(
    loop: Callable[..., Path], store_folder: Path, tmp_path: Path
) -> None:
    changes = ("checkpoint_every_steps=1000",)
    if loop is pretrain:
        recipe: Any = pretrain_recipe(store_folder, *changes)
    else:
        recipe = finetune_recipe(store_folder, *QUICK, *changes, "validate_every_epochs=1")
    product = loop(recipe, tmp_path / "whole", resume=False)
    cut = shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (cut / "metrics.json").unlink()
    (cut / "predictions.json").unlink(missing_ok=True)
    shutil.rmtree(cut / product.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.Tensor.backward", None)  # there is nothing left to train
        patch.setattr("cxrssl.finetune.validation.save_detector", None)
        loop(recipe, cut, resume=True)
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert (cut / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def test_a_pool_smaller_than_a_batch_is_an_error(store_folder: Path, tmp_path: Path) -> None:
    recipe = pretrain_recipe(store_folder, "batch_size=64")
    with pytest.raises(DataError, match="fewer than one batch of 64"):
        pretrain(recipe, tmp_path / "run", resume=False)


def test_eval_refuses_a_store_of_other_classes(
    store_folder: Path, tmp_path: Path, source: Path
) -> None:
    from cxrssl.data.tables import ReadOptions
    from cxrssl.ingest import ingest

    detector = finetune(finetune_recipe(store_folder, *QUICK), tmp_path / "run", resume=False)
    films, pool = source / "train", tmp_path / "pool"
    ingest(films, pool, Settings(64), options=ReadOptions("images"), num_workers=1)
    with pytest.raises(DataError, match="Evaluate on a store with the detector's classes"):
        evaluate(
            detector,
            tmp_path / "pool",
            split="test",
            fusion="consensus",
            consensus_iou=0.2,
            normals=True,
        )


@pytest.mark.slow
def test_a_detector_learns_four_images_by_heart(store_folder: Path, store: Store) -> None:
    recipe = finetune_recipe(store_folder, "model.fpn_channels=64", "model.roi_samples=64")
    four = sorted(labelled_splits(store, recipe).train, key=lambda e: -len(e.boxes))[4:8]
    detector, _ = started(recipe, store)
    model = detector.model
    images = DetectionImages(store, four, detector.intensity, flip_probability=0.0, seed=0)
    pixels, targets = zip(*(images[Visit(0, row)] for row in range(4)), strict=True)
    grey = [image.float().div(255).expand(3, -1, -1) for image in pixels]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(240):
        sum(model(grey, list(targets)).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    found = detect(detector, store, four)
    score = values_of(found, four, store)["AP50"]
    assert score > 0.9


@pytest.mark.slow
def test_the_published_protocol_trains_on_what_its_pool_leaves_and_is_tested_on_its_own_split(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    changes = (
        "data.protocol=published",
        "data.normals=false",
        "data.fusion=wbf",
        "data.oversample_rounding=ceil",
        "data.label_fraction=0.5",
    )
    recipe = finetune_recipe(store_folder, *changes, *QUICK)
    splits = splits_of(store, protocol="published", normals=False)
    labels = labelled_splits(store, recipe)
    train, test = labels.train, labels.test
    order = [name for name, split in splits.items() if split == "train"]
    assert {e.image_id for e in train} == set(order[-(len(order) // 2) :])
    assert {e.image_id for e in test} == {n for n, split in splits.items() if split == "test"}
    pool = pretrain_recipe(
        store_folder, "data.protocol=published", "data.normals=false", "data.pool_fraction=0.5",
        "batch_size=4",
    )  # fmt: skip
    views, _ = pool_images(store, pool)
    assert {store.images[row].image_id for row in views.rows} == set(order[: -(len(order) // 2)])
    run = tmp_path / "run"
    finetune(recipe, run, resume=False)
    found = evaluate(
        run, store_folder, split="test", fusion="wbf", consensus_iou=0.2, normals=False
    )
    assert found["n_images"] == len(test)
    with pytest.raises(DataError, match="protocol published splits images with findings alone"):
        evaluate(run, store_folder, split="test", fusion="wbf", consensus_iou=0.2, normals=True)


@pytest.mark.parametrize("loop", ["pretrain", "finetune"])
def test_a_folder_that_is_taken_is_seen_before_weights_are_loaded(
    loop: str, store_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    missing = tmp_path / "gone"
    message = "is not empty and holds no run"
    if loop == "pretrain":
        changes = ("body.start=run", f"body.weights={missing}")
        with pytest.raises(RunError, match=message):
            pretrain(pretrain_recipe(store_folder, *changes), tmp_path, resume=False)
    else:
        recipe = finetune_recipe(store_folder, f"init.backbone={missing}")
        with pytest.raises(RunError, match=message):
            finetune(recipe, tmp_path, resume=False)


@pytest.mark.parametrize("loop", ["pretrain", "finetune"])
def test_a_warm_up_that_the_images_do_not_allow_stops_the_run_before_it_begins(
    loop: str, store_folder: Path, tmp_path: Path
) -> None:
    changes = ("optim.warmup_steps=15", "epochs=2", "batch_size=4")
    make, run = (pretrain_recipe, pretrain) if loop == "pretrain" else (finetune_recipe, finetune)
    with pytest.raises(
        RunError, match=r"warmup_steps is 15, more than half of the run's 1\d steps"
    ):
        run(make(store_folder, *changes), tmp_path / "run", resume=False)  # type: ignore[operator]
    assert not (tmp_path / "run").exists()


def test_images_that_will_hardly_do_are_named(store_folder: Path, store: Store) -> None:
    labels = labelled_splits(store, finetune_recipe(store_folder, "validate_every_epochs=1"))
    number = len(labels.train)
    assert list(labels.warnings(batch_size=number)) == []
    (warning,) = labels.warnings(batch_size=number + 1)
    assert warning.startswith(f"batch_size {number + 1} is more than the {number} training images")
    bare = [example for example in labels.train if not len(example.boxes)]
    assert bare
    warning = " ".join(replace(labels, val=bare, test=bare).warnings(batch_size=1))
    assert f"none of the {len(bare)} validation images has a box" in warning
    assert f"none of the {len(bare)} test images has a box" in warning
