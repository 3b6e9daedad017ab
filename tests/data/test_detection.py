"""Examples: boxes lie where the picture is, splits follow the protocol, readers are kept."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.core.images import Fit
from cxrssl.data.detection import examples_of, in_split, splits_of
from cxrssl.data.protocol import split_images, split_of
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions
from cxrssl.finetune.splits import labelled_splits
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.pretrain import pool_images
from support import finetune_recipe, pretrain_recipe


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(("width", "height"), [(200, 100), (90, 160), (64, 64), (33, 47)])
def test_a_box_encloses_in_the_store_what_it_encloses_in_the_image(
    fit: Fit, width: int, height: int, tmp_path: Path
) -> None:
    pixels = np.zeros((height, width), np.uint8)
    x, y, w, h = width // 4, height // 5, width // 2, height // 2
    pixels[y : y + h, x : x + w] = 255
    (tmp_path / "source").mkdir()
    Image.fromarray(pixels).save(tmp_path / "source/one.png")
    document = {
        "images": [{"id": 1, "file_name": "one.png"}],
        "categories": [{"id": 1, "name": "Block"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [x, y, w, h]}],
    }
    (tmp_path / "source/coco.json").write_text(json.dumps(document))
    ingest(tmp_path / "source", tmp_path / "store", Settings(128, fit), num_workers=1)
    store = Store(tmp_path / "store")
    (example,) = examples_of(store, fusion="consensus", iou=0.2)
    stored = store.pixels(0)
    assert stored.shape == (128, 128)
    bright = np.argwhere(stored > 127)
    result = [*bright.min(axis=0)[::-1], *(bright.max(axis=0)[::-1] + 1)]
    assert example.boxes[0] == pytest.approx(np.array(result), abs=1.01)
    sides = example.boxes[0, 2:] - example.boxes[0, :2]
    if fit == "letterbox":
        assert sides[0] / sides[1] == pytest.approx(w / h, rel=0.05)


def test_examples_are_the_fusion_of_each_images_own_rows(store: Store) -> None:
    for policy in ("consensus", "wbf", "union", "majority:2"):
        for example in examples_of(store, fusion=policy, iou=0.2):
            rows = store.findings[store.findings["image_id"].eq(example.image_id)]
            drawn = rows[rows["category"].ne("No finding")]
            assert list(example.readers) == drawn["reader"].tolist()
            place = store.placement(example.row)
            scale = np.array([place.x_scale, place.y_scale] * 2)
            original = drawn[["x_min", "y_min", "x_max", "y_max"]].to_numpy()
            assert np.allclose(example.reader_boxes, original * scale, atol=1e-3)
            for number, box in enumerate(example.boxes):
                members = example.reader_boxes[example.box_of_mark == number]
                assert len(members) >= 1
                assert np.allclose(box, members.mean(axis=0), atol=0.01)


def test_a_single_reader_sees_the_images_they_read_and_no_other(store: Store) -> None:
    reader = str(store.findings["reader"].iloc[0])
    read = set(store.findings.loc[store.findings["reader"].eq(reader), "image_id"])
    assert 0 < len(read) < len(store)
    examples = examples_of(store, fusion=f"single:{reader}", iou=0.2)
    assert {example.image_id for example in examples} == read
    assert sum(len(example.boxes) for example in examples) == len(
        store.findings[store.findings["reader"].eq(reader)].dropna()
    )
    with pytest.raises(DataError, match="no image was read by 'R99'; the store's readers are R"):
        examples_of(store, fusion="single:R99", iou=0.2)


def test_published_and_described_split_the_images_with_findings_alone(store: Store) -> None:
    drawn = pd.unique(store.findings.dropna()["image_id"]).tolist()
    for protocol in ("published", "described"):
        result = splits_of(store, protocol=protocol, normals=False)
        assert result == split_images(drawn, protocol=protocol)
        assert list(result) == drawn
        with pytest.raises(DataError, match=f"protocol {protocol} splits images with findings"):
            splits_of(store, protocol=protocol, normals=True)
    counts = list(splits_of(store, protocol="published", normals=False).values())
    assert counts == sorted(counts, key=["train", "val", "test"].index)


def test_corrected_is_a_hash_of_the_id_with_or_without_normals(store: Store) -> None:
    for normals in (False, True):
        result = splits_of(store, protocol="corrected", normals=normals)
        assert result == {name: split_of(name) for name in result}
        assert len(result) == (30 if normals else store.findings.dropna()["image_id"].nunique())


def test_an_official_test_part_is_kept_through_ingest(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "physionet"
    table = pd.read_csv(source / "train.csv").drop(columns="class_id")
    names = sorted(table["image_id"].unique())
    parts = {"train": names[:20], "test": names[20:]}
    (folder / "annotations").mkdir(parents=True)
    for part, part_names in parts.items():
        rows = table[table["image_id"].isin(part_names)]
        if part == "test":
            rows = rows.drop(columns="rad_id")
        rows.to_csv(folder / "annotations" / f"annotations_{part}.csv", index=False)
        (folder / part).mkdir()
        for name in part_names:
            (folder / part / f"{name}.dicom").hardlink_to(source / "train" / f"{name}.dicom")
    summary = ingest(folder, tmp_path / "store", Settings(48), num_workers=1)
    assert (summary.num_images, summary.failures) == (30, {})
    store = Store(tmp_path / "store")
    assert (store.manifest["layout"], len(store.classes)) == ("physionet", 22)
    splits = splits_of(store, protocol="corrected", normals=True)
    assert {name for name, split in splits.items() if split == "test"} == set(names[20:])
    examples = in_split(examples_of(store, fusion="consensus", iou=0.2), splits, "test")
    assert {reader for example in examples for reader in example.readers} == {"consensus"}
    published = splits_of(store, protocol="published", normals=False)
    assert not set(published) & set(names[20:])


def test_all_images_of_a_pool_are_for_training(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(12):
        Image.new("L", (20, 20), 20 * number).save(tmp_path / "films" / f"film{number}.png")
    ingest(
        tmp_path / "films",
        tmp_path / "pool",
        Settings(16),
        options=ReadOptions("images"),
        num_workers=1,
    )
    pool = Store(tmp_path / "pool")
    for protocol in ("corrected", "described", "published"):
        result = splits_of(pool, protocol=protocol, normals=False)  # type: ignore[arg-type]
        assert result == {f"film{number}": "train" for number in range(12)}


@pytest.mark.parametrize("protocol", ["published", "corrected"])
@pytest.mark.parametrize("label_order", ["table", "seeded"])
def test_a_recipes_label_order_decides_both_phases_whatever_the_split(
    protocol: str, label_order: str, store: Store, store_folder: Path
) -> None:
    settings = (
        f"data.protocol={protocol}",
        f"data.label_order={label_order}",
        "data.normals=false",
    )
    labels = labelled_splits(
        store, finetune_recipe(store_folder, *settings, "data.label_fraction=0.5")
    )
    recipe = pretrain_recipe(store_folder, *settings, "data.pool_fraction=0.5", "batch_size=4")
    views, _ = pool_images(store, recipe)
    pool = {store.images[row].image_id for row in views.rows}
    seen = {example.image_id for example in labels.train}
    splits = splits_of(store, protocol=protocol, normals=False)  # type: ignore[arg-type]
    train = [name for name, split in splits.items() if split == "train"]
    assert pool | seen == set(train)
    assert not pool & seen
    assert (pool == set(train[: len(pool)])) == (label_order == "table")


def test_a_split_without_images_is_an_error(store: Store) -> None:
    examples = examples_of(store, fusion="consensus", iou=0.2)
    with pytest.raises(DataError, match="the val split holds none of the 30 images"):
        in_split(examples, {}, "val")
