"""What is known of a plan's images before it begins: counts, and refusals of too few."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.data.detection import splits_of
from cxrssl.data.store import Store
from cxrssl.finetune.splits import labelled_splits, training_images
from cxrssl.reproduce import reproduce
from cxrssl.reproduce.checks import write_plan
from cxrssl.reproduce.costs import print_costs
from cxrssl.reproduce.images import PlanImages, check_images
from cxrssl.reproduce.jobs import trainings
from cxrssl.reproduce.outlook import outlook
from cxrssl.reproduce.resources import Resources
from made_runs import ANY_START
from made_runs import made_plan as plan
from support import finetune_recipe


def kaggle(folder: Path, source: Path, keep: list[str]) -> Path:
    """Make a source of some images of another."""
    (folder / "train").mkdir(parents=True)
    table = pd.read_csv(source / "train.csv")
    table[table["image_id"].isin(keep)].to_csv(folder / "train.csv", index=False)
    for name in keep:
        shutil.copy(source / "train" / f"{name}.dicom", folder / "train")
    return folder


def in_split(store: Store, split: str) -> list[str]:
    splits = splits_of(store, protocol="corrected", normals=True)
    return [name for name, name_split in splits.items() if name_split == split]


@pytest.mark.parametrize("absent", ["train", "test"])
def test_a_plan_without_images_of_a_split_is_refused_before_anything_is_made(
    absent: str, source: Path, store: Store, tmp_path: Path
) -> None:
    other = in_split(store, "test" if absent == "train" else "train")
    smoke = plan(f"data.source={kaggle(tmp_path / 'less', source, other)}")
    message = rf"nothing has been trained:\n  0 of {len(other)} images are in the split {absent}"
    with pytest.raises(RunError, match=message):
        reproduce(smoke, tmp_path / "runs", resources=ANY_START)
    with pytest.raises(RunError, match=message):
        print_costs(smoke, tmp_path / "runs", ANY_START)
    assert not (tmp_path / "runs").exists()


def test_the_validation_split_is_needed_by_those_who_validate(
    source: Path, store: Store, tmp_path: Path
) -> None:
    some = kaggle(tmp_path / "less", source, in_split(store, "train") + in_split(store, "test"))
    check_images(
        PlanImages(smoke := plan(f"data.source={some}"), tmp_path), trainings(smoke, tmp_path)
    )
    smoke = plan(f"data.source={some}", "finetuning.set={validate_every_epochs: 1}")
    with pytest.raises(RunError, match="in the split val with protocol corrected and normals true"):
        check_images(PlanImages(smoke, tmp_path), trainings(smoke, tmp_path))


def test_a_folder_of_images_alone_trains_no_detector(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (20, 20), np.uint8)
        Image.fromarray(noise).save(tmp_path / "films" / f"film{number}.png")
    with pytest.raises(RunError, match="no image has a box: name a source with boxes"):
        reproduce(plan(f"data.source={tmp_path / 'films'}"), tmp_path / "runs", resources=ANY_START)


def test_a_share_of_no_image_and_a_phantom_of_none_are_refused(
    source: Path, tmp_path: Path
) -> None:
    smoke = plan(
        f"data.source={source}", "label_fractions=[0.01, 0.5, 1.0]", "answer.label_fraction=0.5"
    )
    with pytest.raises(RunError, match=r"  1 % of \d+ training images is none"):
        reproduce(smoke, tmp_path / "runs", resources=ANY_START)
    with pytest.raises(RunError, match="the phantom leaves no training image"):
        reproduce(plan("data.phantom.images=1"), tmp_path / "runs", resources=ANY_START)


@pytest.mark.parametrize("normals", [True, False])
def test_images_are_counted_as_the_run_will_have_them(
    normals: bool, source: Path, store: Store, store_folder: Path, tmp_path: Path
) -> None:
    recipe = finetune_recipe(store_folder, f"data.normals={normals}")
    number = len(labelled_splits(store, recipe).train)
    of_source = PlanImages(plan(f"data.source={source}"), tmp_path / "none")
    assert of_source.num_training("corrected", normals=normals) == number
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "store").symlink_to(store_folder)
    assert (
        PlanImages(plan(), tmp_path / "runs").num_training("corrected", normals=normals) == number
    )
    made = plan("data.phantom.images=100", "data.phantom.normal_share=0.5")
    about = PlanImages(made, tmp_path / "none").num_training("corrected", normals=normals)
    assert about == (70 if normals else 35)


@pytest.mark.parametrize("from_store", [True, False])
def test_a_dry_run_counts_the_repeats_of_rare_classes_as_training_does(
    from_store: bool,
    source: Path,
    store_folder: Path,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    smoke = plan(
        f"data.source={source}",
        "finetuning.set={data: {oversample_threshold: 0.4, oversample_rounding: ceil}}",
    )
    if from_store:
        write_plan(tmp_path, smoke, [])
        (tmp_path / "store").symlink_to(store_folder)
    runs = {run.job.name: run for run in trainings(smoke, tmp_path)}
    recipe = runs["control-100-seed0"].recipe
    assert isinstance(recipe, FinetuneRecipe)
    _, batches = training_images(store, labelled_splits(store, recipe).train, recipe)
    images = PlanImages(smoke, tmp_path).num_training("corrected", normals=recipe.data.normals)
    assert len(batches.order(0)) > images
    print_costs(
        smoke,
        tmp_path,
        Resources(
            dict.fromkeys(("pretrain", "finetune"), lambda *_: 1.0), ANY_START.fault_of_start
        ),
    )
    printed = " ".join(capsys.readouterr().out.split())
    visits = recipe.epochs * len(batches.order(0))
    assert f"{visits // recipe.batch_size} steps of {recipe.batch_size} images" in printed


def test_a_dry_run_counts_images_without_findings_where_the_recipe_takes_them(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick(_: object, __: torch.device) -> float:
        return 1.0

    smoke = plan(f"data.source={source}", "finetuning.set={data: {normals: false}}")
    images = PlanImages(smoke, tmp_path)
    with_findings, all_images = (images.num_training("corrected", normals=n) for n in (False, True))
    assert with_findings < all_images
    print_costs(
        smoke,
        tmp_path / "runs",
        Resources({"pretrain": quick, "finetune": quick}, ANY_START.fault_of_start),
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        f"About {with_findings} training images with findings, {all_images} with and without"
        in printed
    )
    runs = {run.job.name: run for run in trainings(smoke, tmp_path / "runs")}
    control = runs["control-100-seed0"]
    assert isinstance(control.recipe, FinetuneRecipe)
    assert f"{2 * with_findings // 2} steps of 2 images" in printed


def test_test_images_that_are_in_the_pool_are_counted_before_anything_is_made(
    source: Path, store: Store, tmp_path: Path
) -> None:
    test = in_split(store, "test")
    copies = tmp_path / "pool" / "2024"
    copies.mkdir(parents=True)
    for name in (*test[:2], *in_split(store, "train")[:1]):
        shutil.copy(source / "train" / f"{name}.dicom", copies / f"other-{name}.dcm")
    (copies / "other-cut.dcm").write_bytes(
        (source / "train" / f"{test[2]}.dicom").read_bytes()[:-1]
    )
    images = PlanImages(plan(f"data.source={source}", f"data.pool={tmp_path / 'pool'}"), tmp_path)
    assert images.num_in_pool(test) == 2
    assert images.num_in_pool([]) == 0
    assert PlanImages(plan(f"data.source={source}"), tmp_path).num_in_pool(test) == 0


@pytest.mark.parametrize(("changes", "says"), [({"max_steps": None}, True), ({}, False)])
def test_a_dry_run_says_that_pasting_makes_epochs_longer(
    changes: dict[str, int | None], says: bool, tmp_path: Path
) -> None:
    paste = {
        **{"largest_side": 0.15, "repeats": 3, "probability": 0.5, "most": 2},
        **{"scale": [0.8, 1.2], "rotation_degrees": 15, "within": []},
    }
    fields = json.dumps({"paste": paste, **changes})
    smoke = plan(f"finetuning.set={fields}")
    sentences = outlook(smoke, PlanImages(smoke, tmp_path), trainings(smoke, tmp_path))
    assert any("paste.repeats" in sentence for sentence in sentences) == says
