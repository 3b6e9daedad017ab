"""Sizes that a table states: boxes lie where they were drawn, or their image is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image, ImageOps

from cxrssl.data.detection import examples_of, splits_of
from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom
from cxrssl.data.store import Store
from cxrssl.ingest import IngestSummary, ingest
from cxrssl.ingest.shards import Settings

COLUMNS = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"


def film(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a dark picture, of levels 0 to 59, that is bright in a box, of 220 to 249."""
    levels = np.tile((np.arange(width) % 60).astype(np.uint8), (height, 1))
    x_min, y_min, x_max, y_max = box
    levels[y_min:y_max, x_min:x_max] = 220 + np.arange(x_max - x_min) % 30
    return Image.fromarray(levels)


def stored(
    folder: Path, images: list[dict[str, Any]], boxes: dict[int, list[float]]
) -> tuple[Store, IngestSummary]:
    """Ingest a COCO file of these images and one box for each of some."""
    document = {
        "images": images,
        "annotations": [
            {"image_id": image, "category_id": 1, "bbox": box} for image, box in boxes.items()
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    summary = ingest(folder, folder / "store", Settings(60), num_workers=1)
    return Store(folder / "store"), summary


def brightness(store: Store) -> float:
    """Return the mean grey inside the one box of a store's first image, in its stored pixels."""
    (example,) = examples_of(store, fusion="union", iou=0.5)
    x_min, y_min, x_max, y_max = np.rint(example.boxes[0]).astype(int)
    return float(store.pixels(0)[y_min:y_max, x_min:x_max].mean())


def test_boxes_of_another_size_of_the_same_shape_are_scaled_and_that_is_said(
    tmp_path: Path,
) -> None:
    film(100, 60, (50, 20, 80, 40)).save(tmp_path / "a.png")
    film(100, 60, (50, 20, 80, 40)).save(tmp_path / "b.png")
    images = [
        {"id": 1, "file_name": "a.png", "width": 400, "height": 240},
        {"id": 2, "file_name": "b.png", "width": 400, "height": 240},
    ]
    store, summary = stored(tmp_path, images, {1: [200, 80, 120, 80]})
    rows = store.findings
    assert rows.iloc[0, 3:].tolist() == [50, 20, 80, 40]
    assert (store.images[0].original_width, store.images[0].original_height) == (100, 60)
    warning = (
        "the table states 400x240 pixels and the file has 100x60, of the same shape: 1 box(es) "
        "are scaled to the file"
    )
    assert store.manifest["warnings"] == summary.warnings == {"a": [warning]}
    assert summary.notes == tuple(store.manifest["notes"])
    assert "boxes of 1 image(s) are scaled, because the table states another" in summary.notes[0]
    again = ingest(tmp_path, tmp_path / "store", Settings(60), num_workers=1)
    assert again.num_reused == 2
    assert again.notes == (
        "passed over, as no images: stores that cxrssl wrote (1)",
        *summary.notes,
    )
    assert_frame_equal(Store(tmp_path / "store").findings, rows)


def test_a_scaled_box_encloses_what_it_was_drawn_around(tmp_path: Path) -> None:
    film(333, 200, (110, 50, 190, 130)).save(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "width": 1000, "height": 601}]
    store, _ = stored(tmp_path, images, {1: [330, 150, 240, 240]})
    assert brightness(store) > 215


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_stated", [True, False])
def test_a_box_drawn_on_a_turned_picture_is_there_in_the_store(
    tmp_path: Path, orientation: int, is_stated: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    film(120, 60, (70, 5, 110, 25)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    # What a person sees in whose tool the box was drawn, by another hand than the store's.
    shown = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    bright = np.argwhere(np.asarray(shown) > 128)
    (y_min, x_min), (y_max, x_max) = bright.min(axis=0).tolist(), (bright.max(axis=0) + 1).tolist()
    size = {"width": shown.width, "height": shown.height} if is_stated else {}
    image = {"id": 1, "file_name": "a.jpg"} | size
    store, summary = stored(tmp_path, [image], {1: [x_min, y_min, x_max - x_min, y_max - y_min]})
    assert brightness(store) > 215
    assert len(summary.warnings) == (orientation != 1)


def test_a_box_drawn_on_the_stored_array_stays_there(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    film(120, 60, (70, 5, 110, 25)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = {"id": 1, "file_name": "a.jpg", "width": 120, "height": 60}
    store, summary = stored(tmp_path, [image], {1: [70, 5, 40, 20]})
    assert brightness(store) > 215
    assert "orientation 6 is not applied" in summary.warnings["a"][0]


@pytest.mark.parametrize(
    ("width", "height", "text"),
    [(60, 100, ", with the sides exchanged: boxes"), (100, 100, ": boxes"), (100, 75, ": boxes")],
)
def test_a_size_of_another_picture_is_refused_with_both_sizes(
    tmp_path: Path, width: int, height: int, text: str
) -> None:
    film(100, 60, (50, 20, 80, 40)).save(tmp_path / "a.png")
    film(100, 60, (50, 20, 80, 40)).save(tmp_path / "b.png")
    images = [
        {"id": 1, "file_name": "a.png", "width": width, "height": height},
        {"id": 2, "file_name": "b.png", "width": 100, "height": 60},
    ]
    store, summary = stored(tmp_path, images, {1: [10, 10, 20, 20], 2: [10, 10, 20, 20]})
    assert [image.image_id for image in store.images] == ["b"]
    start = f"the table states {width}x{height} pixels for it and the file has 100x60{text}"
    assert summary.failures["a"].startswith(start)


def test_a_box_outside_is_told_in_the_pixels_of_the_table(tmp_path: Path) -> None:
    film(100, 60, (50, 20, 80, 40)).save(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "width": 200, "height": 120}
    _, summary = stored(tmp_path, [image], {1: [150, 80, 60, 30]})
    assert summary.failures == {
        "a": "1 box(es) outside the image of 200x120 pixels, the first (150, 80, 210, 110)"
    }


def kaggle(folder: Path, text: str) -> Path:
    (folder / "train").mkdir()
    write_dicom(
        folder / "train" / "a.dicom",
        np.array(film(100, 60, (50, 20, 80, 40))),
        form=PixelForm(bits_stored=8, window=(128, 256)),
        identity=FileIdentity("a"),
    )
    (folder / "train.csv").write_text(text)
    return folder


def test_kaggles_columns_are_held_against_dicom_files(tmp_path: Path) -> None:
    text = f"{COLUMNS},width,height\na,ILD,5,R8,200,80,320,160,400,240\n"
    summary = ingest(kaggle(tmp_path, text), tmp_path / "store", Settings(60), num_workers=1)
    dataset = pydicom.dcmread(tmp_path / "train" / "a.dicom")
    assert (dataset.Columns, dataset.Rows) == (100, 60)
    store = Store(tmp_path / "store")
    assert store.findings.iloc[0, 3:].tolist() == [50, 20, 80, 40]
    assert brightness(store) > 215
    assert "1 box(es) are scaled to the file" in summary.warnings["a"][0]
    (tmp_path / "train.csv").write_text(text.replace("400,240", "240,400"))
    summary = ingest(tmp_path, tmp_path / "store", Settings(60), num_workers=1)
    assert "240x400 pixels for it and the file has 100x60" in summary.failures["a"]


def test_an_image_whose_annotations_were_left_out_is_stored_and_in_no_split(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        film(100, 60, (50, 20, 80, 40)).save(tmp_path / name)
    document = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(document))
    summary = ingest(tmp_path, tmp_path / "store", Settings(60), num_workers=1)
    store = Store(tmp_path / "store")
    assert summary.failures == {}
    assert [image.image_id for image in store.images] == ["a", "b"]
    assert set(splits_of(store, protocol="corrected", normals=True)) == {"b"}
    assert store.manifest["warnings"] == summary.warnings
    assert "all its annotations are to be ignored" in summary.warnings["a"][0]
