"""Ingest: every fault is listed and none stops the rest; a cut ingest goes on where it stopped."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrssl.core.errors import DataError, RunError
from cxrssl.data.store import Store
from cxrssl.ingest import IngestSummary, ingest
from cxrssl.ingest.shards import Settings


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(source: Path, store: Path, workers: int = 1) -> IngestSummary:
    return ingest(source, store, Settings(48), num_workers=workers)


@pytest.fixture
def faulty(source: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a copy of the phantom with one fault of each kind, and which image has which."""
    folder = tmp_path / "faulty"
    shutil.copytree(source, folder)
    table = pd.read_csv(folder / "train.csv")
    drawn = table[table["class_id"].ne(14)]["image_id"].unique()
    names = dict(zip(("outside", "flat", "no_file", "no_rows", "broken"), drawn, strict=False))
    rows = {kind: table["image_id"].eq(name) for kind, name in names.items()}
    first = {kind: table[mask & table["class_id"].ne(14)].index[0] for kind, mask in rows.items()}
    table.loc[first["outside"], "x_max"] = 5000
    table.loc[first["flat"], "x_max"] = table.loc[first["flat"], "x_min"]
    table = table[~rows["no_rows"]]
    table.to_csv(folder / "train.csv", index=False)
    (folder / "train" / f"{names['no_file']}.dicom").unlink()
    broken = folder / "train" / f"{names['broken']}.dicom"
    broken.write_bytes(broken.read_bytes()[:600])
    return folder, names


def test_every_fault_is_listed_and_the_rest_is_stored(
    faulty: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, names = faulty
    summary = run(folder, tmp_path / "store")
    assert set(summary.failures) == set(names.values())
    assert "1 box(es) outside the image of" in summary.failures[names["outside"]]
    assert "has a box without an area" in summary.failures[names["flat"]]
    assert "there is no file" in summary.failures[names["no_file"]]
    assert "the table has no row" in summary.failures[names["no_rows"]]
    assert names["broken"] in summary.failures[names["broken"]]
    store = Store(tmp_path / "store")
    assert len(store) == summary.num_images == 30 - len(names)
    assert store.manifest["failures"] == summary.failures
    assert not set(store.findings["image_id"]) & set(names.values())


def test_the_number_of_workers_changes_nothing(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "one")
    run(source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_cut_ingest_goes_on_and_ends_as_an_undisturbed_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrssl.ingest.shards.SHARD_IMAGES", 8)
    run(source, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("manifest.json", "boxes.parquet", "images-00001-of-00004.json"):
        (tmp_path / "cut" / name).unlink()
    (tmp_path / "cut" / "images-00003-of-00004.arrow").write_bytes(b"")
    (tmp_path / "cut" / "images-00003-of-00004.json").unlink()
    with pytest.raises(DataError, match="is not a finished store"):
        Store(tmp_path / "cut")
    summary = run(source, tmp_path / "cut")
    assert summary.num_reused == 16
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_second_ingest_reuses_all_and_another_size_none(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "store").num_reused == 0
    assert run(source, tmp_path / "store").num_reused == 30
    again = ingest(source, tmp_path / "store", Settings(32), num_workers=1, replace=True)
    assert again.num_reused == 0
    assert Store(tmp_path / "store").pixels(0).shape == (32, 32)


def test_a_store_keeps_every_readers_rows_in_the_order_of_the_table(
    source: Path, store: Store
) -> None:
    table = pd.read_csv(source / "train.csv")
    assert store.findings["image_id"].tolist() == table["image_id"].tolist()
    assert store.findings["reader"].tolist() == table["rad_id"].tolist()
    assert store.findings["x_min"].isna().sum() == table["class_id"].eq(14).sum()
    assert sorted(image.image_id for image in store.images) == sorted(table["image_id"].unique())


def test_stored_pixels_are_the_decoded_ones(source: Path, store: Store) -> None:
    from cxrssl.data.dicom.read import read_dicom

    for row in (0, 17, 29):
        path = source / "train" / f"{store.images[row].image_id}.dicom"
        assert np.array_equal(store.pixels(row), read_dicom(path, size_px=64).pixels)


def test_a_folder_of_images_is_a_pool(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pool" / "deeper"
    folder.mkdir(parents=True)
    Image.new("L", (40, 30), 128).save(folder / "a.png")
    Image.new("RGB", (40, 30), (10, 10, 10)).save(folder / "b.jpg")
    (folder / "c.png").write_bytes(b"no picture")
    summary = run(tmp_path / "pool", tmp_path / "store")
    assert summary.num_images == 2
    assert "c: can't be decoded: no PNG, JPEG, TIFF or BMP" in summary.failures["c"]
    assert Store(tmp_path / "store").classes == ()


def test_a_fault_that_was_mended_is_forgotten(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    path = sorted((folder / "train").iterdir())[0]
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert set(run(folder, tmp_path / "store").failures) == {path.stem}
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(folder, tmp_path / "store").failures == {}
    run(folder, tmp_path / "fresh")
    assert contents(tmp_path / "store") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("end", ["arrow", "json"])
def test_a_shard_that_was_cut_is_written_again(source: Path, tmp_path: Path, end: str) -> None:
    run(source, tmp_path / "store")
    before = contents(tmp_path / "store")
    (path,) = (tmp_path / "store").glob(f"images-*.{end}")
    path.write_bytes(path.read_bytes()[:100])
    assert run(source, tmp_path / "store").num_reused == 0
    assert contents(tmp_path / "store") == before


def test_other_class_names_are_another_store(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "coco"
    folder.mkdir()
    Image.new("L", (40, 30), 128).save(folder / "a.png")
    prints = set()
    for names in (("one", "two"), ("two", "one"), ("one", "two", "three")):
        document = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
            "annotations": [
                {"image_id": 1, "category_id": names.index("one"), "bbox": [1, 2, 3, 4]}
            ],
        }
        (folder / "coco.json").write_text(json.dumps(document))
        run(folder, tmp_path / "store")
        prints.add(Store(tmp_path / "store").fingerprint)
    assert len(prints) == 3


def test_a_store_that_can_not_be_written_is_a_fault_with_advice(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file; a store is a folder"):
        run(source, tmp_path / "file")
    with pytest.raises(RunError, match=r"can't be written .*Make room, or name another folder"):
        run(source, Path("/proc/store"))


def test_the_manifest_names_the_decoders(store: Store) -> None:
    (decoders,) = store.manifest["decoders"]
    assert {"imagecodecs", "pydicom", "pillow"} <= set(decoders)
