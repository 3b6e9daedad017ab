"""Every image of a store is counted once: as used, or with the reason why it is left out."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cxrssl.data.detection import splits_of
from cxrssl.data.protocol import split_of
from cxrssl.data.store import Store
from cxrssl.data.usage import Usage, usage_of
from cxrssl.finetune import finetune
from cxrssl.finetune.splits import labelled_splits
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.pretrain import pretrain
from cxrssl.pretrain.pool import pool_images, pool_usage
from support import finetune_recipe, pretrain_recipe

# Images by split, as many of each as are wanted below.
WANTED = {"train": 8, "val": 2, "test": 3}
NO_FINDING = "without a finding (data.normals is false)"
UNMARKED = "without a mark that could be used, so neither with findings nor without"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest 16 films: 13 with a box by A, 3 of these by B too, 1 normal, 1 unmarked, 1 broken."""
    place = tmp_path_factory.mktemp("usage")
    source = place / "source"
    source.mkdir()
    names: list[str] = []
    for split, number in WANTED.items():
        candidates = (f"{split}{place}" for place in range(100))
        names += [name for name in candidates if split_of(name) == split][:number]
    others = ["normal", "unmarked", "broken"]
    for name in [*names, *others]:
        Image.effect_noise((32, 32), 60).save(source / f"{name}.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ids = {name: place for place, name in enumerate([*names, *others])}
    box = {"category_id": 1, "bbox": [4, 4, 10, 10]}
    annotations = [{"image_id": ids[name], "reader": "A", **box} for name in [*names, "broken"]]
    # B agrees on three training films, and draws a second box on the first of them.
    annotations += [{"image_id": ids[name], "reader": "B", **box} for name in names[:3]]
    annotations += [{"image_id": 0, "reader": "B", "category_id": 1, "bbox": [20, 20, 8, 8]}]
    annotations += [{"image_id": ids["unmarked"], "reader": "A", "ignore": 1, **box}]
    numbered = [{"id": place, **entry} for place, entry in enumerate(annotations)]
    document = {
        "images": [{"id": place, "file_name": f"{name}.png"} for name, place in ids.items()],
        "categories": [{"id": 1, "name": "Lung"}],
        "annotations": numbered,
    }
    (source / "coco.json").write_text(json.dumps(document))
    summary = ingest(source, place / "store", Settings(32), num_workers=1)
    assert list(summary.failures) == ["broken"]
    assert str(summary.marks) == (
        "layout coco: 15 images (13 with boxes, 1 without a finding, 1 without a mark that could "
        "be used), 17 boxes of 1 class by 3 readers"
    )
    return place / "store"


def usage(folder: Path, *changes: str) -> Usage:
    recipe = finetune_recipe(folder, "data.normals=false", *changes)
    return labelled_splits(Store(folder), recipe).usage


def test_what_normals_false_leaves_out_is_said(folder: Path) -> None:
    counted = usage(folder, "validate_every_epochs=1")
    assert counted.used == {"train": 8, "val": 2, "test": 3}
    # Boxes of the two that agree are fused to one: 8 films, and B's second box.
    assert counted.boxes == {"train": 9, "val": 2, "test": 3}
    assert counted.left_out == {NO_FINDING: 1, UNMARKED: 1}
    assert counted.lines() == [
        "15 images in the store: 8 for training (9 boxes), 2 for validation (2 boxes), 3 for "
        "testing (3 boxes), 2 left out.",
        f"Left out: 1 {NO_FINDING}; 1 {UNMARKED}.",
        "1 image of the source could not be ingested and is not in the store: see its "
        "manifest.json.",
    ]


def test_a_label_share_and_no_validation_are_reasons(folder: Path) -> None:
    counted = usage(folder, "data.label_fraction=0.25")
    assert counted.used == {"train": 2, "test": 3}
    assert counted.left_out == {
        "whose labels are not seen (data.label_fraction is 0.25)": 6,
        "for validation, which there is none of (validate_every_epochs is null)": 2,
        NO_FINDING: 1,
        UNMARKED: 1,
    }


def test_a_reader_and_a_majority_leave_out_images_and_marks(folder: Path) -> None:
    by_a = usage(folder, "data.fusion=single:A")
    # The normal film has nobody's name: A is not known to have read it.
    assert by_a.used == {"train": 8, "test": 3}
    assert (by_a.num_marks, by_a.num_marks_left_out) == (15, 4)  # B's
    majority = usage(folder, "data.fusion=majority:2")
    assert majority.boxes == {"train": 3, "test": 0}
    assert (majority.num_marks, majority.num_marks_left_out) == (15, 9)
    assert majority.lines()[2] == (
        "9 of 15 marks of readers on the images that take part are in no box (data.fusion)."
    )


def test_an_image_that_the_one_reader_never_read_is_left_out(folder: Path) -> None:
    store = Store(folder)
    splits = splits_of(store, protocol="corrected", normals=False)
    counted = usage_of(
        store,
        {"test": []},
        splits=splits,
        unused_of_split={"train": "for training", "val": "for validation"},
        normals=False,
        reader="B",
    )
    assert counted.left_out["not read by B (data.fusion is single:B)"] == 10
    assert counted.left_out["for training"] == 3
    assert sum(counted.left_out.values()) == 15


def test_the_paper_leaves_out_an_official_test_part(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "physionet"
    table = pd.read_csv(source / "train.csv").drop(columns="class_id")
    names = sorted(table["image_id"].unique())
    (folder / "annotations").mkdir(parents=True)
    for part, chosen in {"train": names[:22], "test": names[22:]}.items():
        rows = table[table["image_id"].isin(chosen)]
        rows = rows.drop(columns="rad_id") if part == "test" else rows
        rows.to_csv(folder / "annotations" / f"annotations_{part}.csv", index=False)
        (folder / part).mkdir()
        for name in chosen:
            (folder / part / f"{name}.dicom").hardlink_to(source / "train" / f"{name}.dicom")
    ingest(folder, tmp_path / "store", Settings(48), num_workers=1)
    # A reader may find nothing where another draws a box.
    normal = set(names) - set(table.loc[table["class_name"].ne("No finding"), "image_id"])
    recipe = finetune_recipe(tmp_path / "store", "data.normals=false", "data.protocol=published")
    counted = labelled_splits(Store(tmp_path / "store"), recipe).usage
    part_left_out = "of the source's own test part (data.protocol leaves it out)"
    assert counted.left_out[part_left_out] == len(set(names[22:]) - normal) > 0
    assert counted.left_out[NO_FINDING] == len(normal)
    assert sum(counted.used.values()) + sum(counted.left_out.values()) == 30


def test_a_pool_counts_the_splits_it_leaves_out(store: Store) -> None:
    recipe = pretrain_recipe(store.folder, "data.pool_fraction=0.5", "data.normals=false")
    images, _ = pool_images(store, recipe)
    counted = pool_usage(store, recipe, images.ids)
    drawn = set(store.findings.loc[store.findings["category"].ne("No finding"), "image_id"])
    splits = Counter(split_of(name) for name in drawn)
    assert counted.used == {"pool": len(images.ids)}
    assert counted.left_out == {
        "whose labels a fine-tuning sees (data.pool_fraction is 0.5)": splits["train"]
        - len(images.ids),
        "for validation": splits["val"],
        "for testing": splits["test"],
        NO_FINDING: 30 - len(drawn),
    }
    assert counted.boxes == {}


def test_runs_say_it_at_their_start_and_keep_it(
    store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = finetune_recipe(store_folder, "data.normals=false", "max_steps=1")
    counted = labelled_splits(Store(store_folder), recipe).usage
    finetune(recipe, tmp_path / "det", resume=False)
    said = capsys.readouterr().err.splitlines()
    assert said[: len(counted.lines())] == counted.lines()
    for name in ("provenance.json", "metrics.json"):
        record = json.loads((tmp_path / "det" / name).read_text())["usage"]
        assert record == counted.as_json()
    assert record["used"]["train"] + record["used"]["test"] + sum(record["left_out"].values()) == 30
    pretrain(pretrain_recipe(store_folder, "max_steps=1"), tmp_path / "ssl", resume=False)
    pool = Counter(split_of(image.image_id) for image in Store(store_folder).images)["train"]
    assert capsys.readouterr().err.startswith(
        f"30 images in the store: {pool} in the pool, {30 - pool} left out.\nLeft out: "
    )
    record = json.loads((tmp_path / "ssl" / "provenance.json").read_text())["usage"]
    assert record["used"] == {"pool": pool}
