"""The `datasets` builder gives what the store holds, with fused boxes and every reader's own."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from cxrssl.data.builder import VinDrCXR
from cxrssl.data.detection import examples_of
from cxrssl.data.protocol import split_of
from cxrssl.data.store import Store


@pytest.fixture(scope="module")
def built(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> datasets.DatasetDict:
    cache = tmp_path_factory.mktemp("cache")
    builder = VinDrCXR(store=store_folder, cache_dir=str(cache))
    builder.download_and_prepare()
    return builder.as_dataset()


def test_every_image_is_in_the_split_of_its_id(built: datasets.DatasetDict, store: Store) -> None:
    found = {name: split for split, data in built.items() for name in data["image_id"]}
    assert found == {image.image_id: split_of(image.image_id) for image in store.images}


def test_examples_are_those_that_training_sees(built: datasets.DatasetDict, store: Store) -> None:
    examples = {e.image_id: e for e in examples_of(store, consensus_iou=0.2)}
    checked = 0
    for data in built.values():
        for row in data:
            own = examples[row["image_id"]]
            assert np.array_equal(np.array(row["image"]), store.pixels(own.row))
            assert np.allclose(np.array(row["objects"]["bbox"]).reshape(-1, 4), own.boxes)
            assert row["objects"]["category"] == own.labels.tolist()
            assert row["objects"]["support"] == own.support.tolist()
            assert row["readers"]["reader"] == list(own.readers)
            checked += len(own.boxes)
    assert checked > 50


def test_classes_are_named_and_boxes_lie_in_the_image(built: datasets.DatasetDict) -> None:
    feature = built["train"].features["objects"]["category"].feature
    assert feature.names[3] == "Cardiomegaly"
    for row in built["train"]:
        boxes = np.array(row["objects"]["bbox"]).reshape(-1, 4)
        assert ((boxes >= 0) & (boxes <= 64.01)).all()


def test_another_setting_or_store_is_another_cache(store_folder: Path, tmp_path: Path) -> None:
    first, second = (
        VinDrCXR(store=store_folder, consensus_iou=iou, cache_dir=str(tmp_path))
        for iou in (0.2, 0.5)
    )
    assert first.cache_dir != second.cache_dir


def test_parquet_loads_without_any_code_of_ours(store_folder: Path, tmp_path: Path) -> None:
    builder = VinDrCXR(store=store_folder, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare(str(tmp_path / "out"), file_format="parquet")
    data = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache2"))
    assert sum(len(part) for part in data.values()) == 30
