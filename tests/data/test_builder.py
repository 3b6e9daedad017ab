"""The `datasets` builder gives what the store holds, with fused boxes and every reader's own."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.builder import VinDrCXR
from cxrssl.data.detection import examples_of, splits_of
from cxrssl.data.protocol import split_of
from cxrssl.data.store import Store
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings


@pytest.fixture(scope="module")
def built(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> datasets.DatasetDict:
    cache = tmp_path_factory.mktemp("cache")
    builder = VinDrCXR(store=store_folder, cache_dir=str(cache))
    builder.download_and_prepare()
    return builder.as_dataset()


def test_every_image_is_in_the_split_of_its_id(built: datasets.DatasetDict, store: Store) -> None:
    result = {name: split for split, data in built.items() for name in data["image_id"]}
    assert result == {image.image_id: split_of(image.image_id) for image in store.images}


def test_examples_are_those_that_training_sees(built: datasets.DatasetDict, store: Store) -> None:
    examples = {e.image_id: e for e in examples_of(store, fusion="consensus", iou=0.2)}
    checked = 0
    for data in built.values():
        for row in data:
            example = examples[row["image_id"]]
            assert np.array_equal(np.array(row["image"]), store.pixels(example.row))
            assert np.allclose(np.array(row["objects"]["bbox"]).reshape(-1, 4), example.boxes)
            assert row["objects"]["category"] == example.labels.tolist()
            assert row["objects"]["support"] == example.support.tolist()
            assert row["readers"]["reader"] == list(example.readers)
            assert row["readers"]["object"] == example.box_of_mark.tolist()
            checked += len(example.boxes)
    assert checked > 50


def test_classes_are_named_and_boxes_lie_in_the_image(built: datasets.DatasetDict) -> None:
    feature = built["train"].features["objects"]["category"].feature
    assert feature.names[3] == "Cardiomegaly"
    for row in built["train"]:
        boxes = np.array(row["objects"]["bbox"]).reshape(-1, 4)
        assert ((boxes >= 0) & (boxes <= 64.01)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"consensus_iou": 0.5},
        {"fusion": "wbf"},
        {"protocol": "described", "normals": False},
        {"normals": False},
    ],
    ids=["iou", "fusion", "protocol", "normals"],
)
def test_another_setting_is_another_cache(
    change: dict[str, Any], store_folder: Path, tmp_path: Path
) -> None:
    first = VinDrCXR(store=store_folder, cache_dir=str(tmp_path))
    assert first.cache_dir == VinDrCXR(store=store_folder, cache_dir=str(tmp_path)).cache_dir
    second = VinDrCXR(store=store_folder, cache_dir=str(tmp_path), **change)
    assert first.cache_dir != second.cache_dir


def test_a_store_with_other_boxes_is_not_served_from_the_cache(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    counts = []
    for _ in range(2):
        ingest(folder, tmp_path / "store", Settings(32), num_workers=1)
        builder = VinDrCXR(store=tmp_path / "store", cache_dir=str(tmp_path / "cache"))
        builder.download_and_prepare()
        data = builder.as_dataset()
        counts.append(sum(len(row["readers"]["reader"]) for part in data.values() for row in part))
        table = pd.read_csv(folder / "train.csv")
        drawn = table.index[table["class_id"].ne(14)]
        table.drop(drawn[:1]).to_csv(folder / "train.csv", index=False)
    assert counts[1] == counts[0] - 1


def test_protocol_and_fusion_shape_the_examples(
    store: Store, store_folder: Path, tmp_path: Path
) -> None:
    builder = VinDrCXR(
        store=store_folder,
        protocol="published",
        normals=False,
        fusion="single:R9",
        cache_dir=str(tmp_path),
    )
    builder.download_and_prepare()
    data = builder.as_dataset()
    splits = splits_of(store, protocol="published", normals=False)
    result = {name: split for split, part in data.items() for name in part["image_id"]}
    read = set(store.findings.loc[store.findings["reader"].eq("R9"), "image_id"])
    assert result == {name: split for name, split in splits.items() if name in read}
    for part in data.values():
        for row in part:
            example = row["readers"]["reader"].count("R9")
            assert len(row["objects"]["bbox"]) == example
            assert sum(place >= 0 for place in row["readers"]["object"]) == example


def test_settings_that_do_not_go_together_are_refused(store_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="protocol published splits images with findings alone"):
        VinDrCXR(store=store_folder, protocol="published", cache_dir=str(tmp_path))


def test_exported_parquet_loads_whole_where_cxrssl_can_not_be_imported(
    built: datasets.DatasetDict, store_folder: Path, tmp_path: Path
) -> None:
    VinDrCXR(store=store_folder, cache_dir=str(tmp_path / "cache")).export(tmp_path / "out")
    code = """
import sys
sys.modules["cxrssl"] = None
import datasets, hashlib, numpy as np
data = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
for split in sorted(data):
    for row in data[split]:
        digest = hashlib.sha256(np.array(row["image"]).tobytes()).hexdigest()
        print(split, row["image_id"], digest, row["objects"], row["readers"])
print(data["train"].features["objects"]["category"].feature.names)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(tmp_path / "cache2")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = [
        f"{split} {row['image_id']} {hashlib.sha256(np.array(row['image']).tobytes()).hexdigest()} "
        f"{row['objects']} {row['readers']}"
        for split in sorted(built)
        for row in built[split]
    ]
    expected.append(str(built["train"].features["objects"]["category"].feature.names))
    assert done.stdout.splitlines() == expected
    with pytest.raises(DataError, match="is not empty"):
        VinDrCXR(store=store_folder, cache_dir=str(tmp_path / "cache")).export(tmp_path / "out")
