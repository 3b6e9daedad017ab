"""Images without labels: which they are, which are left out, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxrssl.core.errors import DataError, RecipeError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.detection import examples_of, splits_of
from cxrssl.data.sampling import Visit
from cxrssl.data.store import Store
from cxrssl.finetune.splits import labelled_splits, lines_on_changes, training_images
from cxrssl.finetune.unlabelled import Unlabelled, unlabelled_images
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from support import finetune_recipe

SECTION = (
    "unlabelled={{store: {store}, batch_size: 4, burn_in_steps: 2, threshold: 0.5, weight: 1.0, "
    "ramp_steps: 0, relation_weight: 0.0, known_normals: {normals}, pseudo_boxes: teacher}}"
)
EMA = "ema={decay: 0.9}"


def unlabelled_of(
    store: Store, *changes: str, pool: Path | None = None, normals: bool = False
) -> Unlabelled:
    section = SECTION.format(store=pool or "null", normals=str(normals).lower())
    recipe = finetune_recipe(store.folder, section, EMA, "max_steps=20", "epochs=99", *changes)
    splits = labelled_splits(store, recipe)
    _, plan = training_images(store, splits.train, recipe)
    found = unlabelled_images(store, splits, recipe, num_steps=plan.num_steps)
    assert found is not None
    return found


def test_the_rest_is_training_images_whose_labels_are_not_seen(store: Store) -> None:
    rest = unlabelled_of(store, "data.label_fraction=0.4", "data.normals=true")
    recipe = finetune_recipe(store.folder, "data.label_fraction=0.4", "data.normals=true")
    labelled = {example.image_id for example in labelled_splits(store, recipe).train}
    splits = splits_of(store, protocol="corrected", normals=True)
    train = {name for name, split in splits.items() if split == "train"}
    assert set(rest.ids) == train - labelled
    assert not any(rest.normal), "they are hidden unless known_normals says so"
    truth = {e.image_id: e for e in examples_of(store, fusion="consensus", iou=0.2)}
    for place, example in rest.truth.items():
        assert example.image_id == rest.ids[place]
        assert example.boxes.tolist() == truth[example.image_id].boxes.tolist()
    assert rest.plan.num_steps == 18


def test_known_normals_are_those_in_which_readers_found_nothing(store: Store) -> None:
    rest = unlabelled_of(store, "data.label_fraction=0.3", "data.normals=true", normals=True)
    rows = store.findings
    drawn = set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])
    assert rest.normal == [name not in drawn for name in rest.ids]
    assert any(rest.normal)


def test_an_image_with_another_finding_is_no_known_normal(store: Store) -> None:
    changes = "data.label_fraction=0.3", "data.normals=true"
    before = unlabelled_of(store, *changes, normals=True)
    name = before.ids[before.normal.index(True)]

    class WithKind(Store):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.images = [
                replace(image, kind="other finding") if image.image_id == name else image
                for image in self.images
            ]

    after = unlabelled_of(WithKind(store.folder), *changes, normals=True)
    known = [one for one, normal in zip(after.ids, after.normal, strict=True) if normal]
    assert name not in known
    assert known


def pool_of(source: Path, folder: Path, *, size_px: int = 64, fit: str = "squash") -> Path:
    ingest(source, folder, Settings(size_px, fit=fit), num_workers=1)  # type: ignore[arg-type]
    return folder


def test_a_pool_loses_the_test_images_that_it_holds_and_says_so(
    store: Store, source: Path, tmp_path: Path
) -> None:
    few = "data.label_fraction=0.4"
    pool = unlabelled_of(store, few, pool=pool_of(source, tmp_path / "pool"))
    splits = splits_of(store, protocol="corrected", normals=True)
    held_out = {name for name, split in splits.items() if split != "train"}
    assert not held_out & set(pool.ids)
    recipe = finetune_recipe(store.folder, few)
    labelled = {example.image_id for example in labelled_splits(store, recipe).train}
    assert set(pool.ids) == {image.image_id for image in store.images} - held_out - labelled
    (line,) = (text for text in pool.lines() if "Left out" in text)
    assert f"{len(held_out)} that are a validation or test image, file for file" in line
    assert f"{len(labelled)} that are a labelled training image, file for file" in line
    assert pool.as_json()["left_out"] == dict(pool.left_out)


def test_a_pool_loses_patients_of_the_test(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Store(pool_of(source, tmp_path / "pool"))
    # Other films of the same people: the files differ, the patients do not.
    monkeypatch.setattr(
        Store,
        "source_sha256",
        lambda self: {i.image_id: f"{self.folder}/{i.image_id}" for i in self.images},
    )
    names = {image.image_id: f"patient of {image.image_id}" for image in store.images}
    monkeypatch.setattr("cxrssl.finetune.unlabelled.patients_of", lambda _: names)
    found = unlabelled_of(store, pool=pool.folder)
    splits = splits_of(store, protocol="corrected", normals=True)
    held_out = {name for name, split in splits.items() if split != "train"}
    assert not held_out & set(found.ids)
    assert list(found.left_out) == ["of a patient with validation or test images"]


@pytest.mark.parametrize(("size_px", "fit"), [(96, "squash"), (64, "letterbox")])
def test_a_pool_of_another_size_or_fit_is_refused(
    size_px: int, fit: str, store: Store, source: Path, tmp_path: Path
) -> None:
    pool = pool_of(source, tmp_path / "pool", size_px=size_px, fit=fit)
    with pytest.raises(DataError, match=rf"{size_px} px, {fit}.*64 px, squash.*--size 64"):
        unlabelled_of(store, pool=pool)


def test_no_image_without_labels_is_an_error(store: Store) -> None:
    with pytest.raises(DataError, match=r"none of the \d+ images .* without its label"):
        unlabelled_of(store, "data.normals=true")


def test_a_burn_in_that_takes_all_steps_is_refused(store: Store) -> None:
    with pytest.raises(RecipeError, match="burn_in_steps 20 leaves none of max_steps 20"):
        unlabelled_of(store, "unlabelled.burn_in_steps=20")
    with pytest.raises(DataError, match=r"burn_in_steps is 900, and the run has \d+ steps"):
        unlabelled_of(
            store, "unlabelled.burn_in_steps=900", "max_steps=null", "data.label_fraction=0.4"
        )


def test_a_teacher_needs_an_average(store_folder: Path) -> None:
    with pytest.raises(RecipeError, match="unlabelled needs ema"):
        finetune_recipe(store_folder, SECTION.format(store="null", normals="false"))


def small(**changes: Any) -> str:  # noqa: ANN401
    fields = {
        "largest_side": 0.3, "repeats": 3, "probability": 1.0, "most": 2, "scale": [0.8, 1.2],
        "rotation_degrees": 15, "within": [],
    }  # fmt: skip
    return f"paste={fields | changes}".replace("'", '"')


def test_images_with_small_findings_are_seen_more_often(store: Store) -> None:
    recipe = finetune_recipe(store.folder, small(), "data.oversample_threshold=null")
    images, plan = training_images(store, labelled_splits(store, recipe).train, recipe)
    side = store.manifest["size_px"]
    counts = pd.Series(plan.order(0)).value_counts()
    for number, example in enumerate(images.examples):
        sides = example.boxes[:, 2:] - example.boxes[:, :2]
        is_small = bool((sides <= 0.3 * side).all(axis=1).any())
        assert counts[number] == (3 if is_small else 1)
    assert set(counts) == {1, 3}


def test_nothing_small_and_unknown_classes_are_refused(store: Store) -> None:
    for change, message in (
        (small(largest_side=0.001), r"none of the boxes .* at most 0\.001 of an image's side"),
        (small(within=["Left lung"]), r"paste\.within names Left lung, and the classes of"),
    ):
        recipe = finetune_recipe(store.folder, change)
        with pytest.raises(DataError, match=message):
            training_images(store, labelled_splits(store, recipe).train, recipe)


def test_an_augmentation_that_would_lose_boxes_is_said(store: Store) -> None:
    augment = (
        "augment={scale: [5, 6], shift: 0.0, rotation_degrees: 0, gamma: [1, 1], "
        "contrast: [1, 1], brightness: [0, 0], blur_sigma_px: [0, 0], noise_share: [0, 0], "
        "cutout: null}"
    )
    recipe = finetune_recipe(store.folder, augment)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    (line,) = lines_on_changes(images)
    assert "of the training images keep their place" in line
    gentle = finetune_recipe(store.folder, augment, "augment.scale=[0.9, 1.0]")
    images, _ = training_images(store, labelled_splits(store, gentle).train, gentle)
    assert lines_on_changes(images) == []


@pytest.mark.parametrize(
    "change",
    [
        "augment.brightness=[1, 1]",
        "augment.contrast=[0, 0]",
        "augment.cutout={most: 100, side: [1, 1]}",
    ],
)
def test_an_augmentation_that_empties_films_is_said(change: str, store: Store) -> None:
    augment = (
        "augment={scale: [1, 1], shift: 0.0, rotation_degrees: 0, gamma: [1, 1], "
        "contrast: [1, 1], brightness: [0, 0], blur_sigma_px: [0, 0], noise_share: [0, 0], "
        "cutout: null}"
    )
    changes = augment, change, "data.normals=true"
    recipe = finetune_recipe(store.folder, *changes)
    images, _ = training_images(store, labelled_splits(store, recipe).train, recipe)
    (line,) = lines_on_changes(images)
    assert "next to nothing can be seen" in line


def test_the_rest_has_no_normal_images_where_labels_have_none_and_that_is_said(
    store: Store,
) -> None:
    with_normals = unlabelled_of(store, "data.label_fraction=0.4", "data.normals=true")
    rest = unlabelled_of(store, "data.label_fraction=0.4", "data.normals=false")
    rows = store.findings
    drawn = set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])
    normal = set(rows["image_id"]) - drawn
    reason = "that readers found normal, as data.normals is false"
    assert rest.left_out == {reason: len(normal)}
    assert with_normals.left_out == {}
    few = "data.label_fraction=0.4", "data.normals=false", "data.protocol=described"
    assert unlabelled_of(store, *few).left_out == {reason: len(normal)}
    assert any(reason in line for line in rest.lines())


def test_copies_of_test_images_among_unread_ones_are_left_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("data.label_fraction=0.4", "data.normals=true")
    before = unlabelled_of(store, *changes)
    splits = splits_of(store, protocol="corrected", normals=True)
    tested = next(name for name, split in splits.items() if split == "test")
    copied, hashes = before.ids[0], store.source_sha256()
    monkeypatch.setattr(Store, "source_sha256", lambda _: hashes | {copied: hashes[tested]})
    after = unlabelled_of(store, *changes)
    assert after.ids == before.ids[1:]
    assert after.left_out == {"that are a validation or test image, file for file": 1}


def test_what_could_not_be_shuffled_is_refused(store: Store) -> None:
    few = ("data.label_fraction=0.9", "data.normals=true", "unlabelled.pseudo_boxes=shuffled")
    with pytest.raises(DataError, match="an image would get its own boxes"):
        unlabelled_of(store, *few)


def test_a_threshold_that_the_detector_does_not_reach_down_to_is_refused(store: Store) -> None:
    with pytest.raises(RecipeError, match=r"threshold 0\.5 is below model\.score_threshold 0\.6"):
        unlabelled_of(store, "model.score_threshold=0.6")


def test_unknown_patients_and_a_student_without_augmentation_are_said(
    store: Store, source: Path, tmp_path: Path
) -> None:
    pool = pool_of(source, tmp_path / "pool")
    lines = " ".join(unlabelled_of(store, "data.label_fraction=0.4", pool=pool).lines())
    assert "the patient is not known" in lines
    assert "augment is null: the student sees what the teacher sees" in lines


def test_findings_are_pasted_into_the_boxes_that_are_named(store: Store) -> None:
    name = store.classes[int(np.bincount(np.concatenate(
        [e.labels for e in examples_of(store, fusion="consensus", iou=0.2)]
    )).argmax())]  # fmt: skip
    paste = small(within=[name], largest_side=0.2, scale=[0.3, 0.3], most=5)
    recipe = finetune_recipe(store.folder, paste, "data.flip_probability=0")
    images, plan = training_images(store, labelled_splits(store, recipe).train, recipe)
    label, placed = store.classes.index(name), 0
    for visit in plan.visits(0):
        example = images.examples[visit.row]
        hosts = example.boxes[example.labels == label]
        more = images[visit][1]["boxes"][len(example.boxes) :].numpy()
        if len(hosts):
            placed += len(more)
            for box in more:
                inside = np.all(box[:2] >= hosts[:, :2], axis=1)
                inside &= np.all(box[2:] <= hosts[:, 2:], axis=1)
                assert inside.any()
    assert placed > 0
    drawn = sum(images.num_drawn(Visit(0, row)) for row in range(len(images.examples)))
    there = sum(len(images[Visit(0, row)][1]["labels"]) for row in range(len(images.examples)))
    there -= sum(len(example.boxes) for example in images.examples)
    (line,) = lines_on_changes(images)
    assert f"{drawn - there} of {drawn} findings" in line
