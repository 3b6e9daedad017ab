"""A source folder: no table is ignored in silence, and what is no image is passed over, counted."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.kind import kind_without_image
from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom
from cxrssl.data.tables import read_source
from cxrssl.data.tables.files import list_folder
from cxrssl.data.tables.source import image_files

COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "Lung"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
}
KAGGLE = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\na,ILD,5,R1,1,2,3,4\n"


def fill(folder: Path, files: dict[str, str]) -> Path:
    """Write texts and, for what is called .png, pictures."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("L", (20, 20), 9).save(path)
        else:
            path.write_text(text)
    return folder


def film(path: Path) -> None:
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    write_dicom(path, pixels, form=PixelForm(), identity=FileIdentity(key=path.stem))


@pytest.mark.parametrize(
    ("files", "texts"),
    [
        ({"notes.csv": "file,finding\na.png,mass\n", "a.png": ""}, ["notes.csv", "(kaggle)"]),
        ({"images/a.png": "", "texts/a.txt": "The heart is of normal size.\n"},
         ["texts/a.txt", "YOLO labels are read if"]),
        ({"a.png": "", "annotations.xml": "<annotations/>"},
         ["annotations.xml", "Pascal VOC's, whose root is annotation"]),
        ({"boxes.xlsx": "PK", "a.png": ""}, ["boxes.xlsx"]),
        ({"train.csv.zip": "PK", "train/a.png": ""}, ["train.csv.zip"]),
        ({"boxes.txt": "a.png;1;2;3;4\nb.png;1;2;3;4\n", "a.png": ""}, ["boxes.txt"]),
        ({"boxes.txt": "a.png 1 2 3 4", "a.png": ""}, ["boxes.txt"]),
        ({"vindr/train.csv": KAGGLE, "vindr/train/a.png": ""},
         ["Those in vindr are read when that folder is named instead"]),
        ({"x/annotations/annotations_train.csv": KAGGLE, "x/train/a.png": ""}, ["Those in x are"]),
        ({"Jane Doe.csv": "a,b\n", "a.png": ""}, ["(a name with other characters"]),
    ],
)  # fmt: skip
def test_a_folder_with_a_table_that_no_layout_reads_is_no_pool_unless_it_is_said(
    files: dict[str, str], texts: list[str], tmp_path: Path
) -> None:
    folder = fill(tmp_path / "source", files)
    with pytest.raises(DataError, match="no layout reads them") as caught:
        read_source(folder)
    for text in (*texts, "say --layout images to take all its images as a pool"):
        assert text in str(caught.value)
    assert "Doe" not in str(caught.value)
    pool = read_source(folder, layout="images")
    assert pool.layout == "images"
    assert len(pool.files) == sum(name.endswith(".png") for name in files)
    assert pool.notes[0].startswith("tables that are not used: ")
    assert "Doe" not in str(pool.notes)


@pytest.mark.parametrize(
    "files",
    [
        {"README.txt": "Two films, one reader.\nThe rest, later.\n"},
        {"LICENSE": "MIT", "ATTRIBUTION.csv": "file,author\na.png,me\n", "CITATION.cff": "a: b"},
        {"notes.txt": "These films are from our hospital, taken in March.\n"},
        {"train_list.txt": "a.png\nb.png\n"},
        {"sha256sums.txt": "00 a.png\n", "manifest-md5.txt": "00 a.png\n"},
        {".hidden.csv": "a,b\n", "__MACOSX/._labels.csv": "x"},
    ],
)
def test_a_folder_of_images_with_words_about_it_is_a_pool(
    files: dict[str, str], tmp_path: Path
) -> None:
    result = read_source(fill(tmp_path / "source", {**files, "deeper/a.png": ""}))
    assert (result.layout, set(result.files)) == ("images", {"a"})
    assert len(result.notes) == 1  # files that are not read, or are passed over


def test_more_tables_than_fit_a_line_are_counted(tmp_path: Path) -> None:
    files = {f"{number}.json": "{}" for number in range(500)}
    folder = fill(tmp_path / "source", {f"meta/{name}": text for name, text in files.items()})
    with pytest.raises(DataError, match=r"meta/0.json, meta/1.json, meta/10.json and 497 more"):
        read_source(folder)
    with pytest.raises(DataError, match=r"found 0.json, 1.json, 10.json and 497 more"):
        read_source(folder / "meta")


def test_what_an_annotated_source_does_not_use_is_said(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "source",
        {
            "train.csv": KAGGLE, "train/a.png": "", "test/b.png": "", "test/c.png": "",
            "sample_submission.csv": "image_id\n", "coco.json": json.dumps(COCO), "clip.webp": "",
        },
    )  # fmt: skip
    result = read_source(folder)
    assert (result.layout, set(result.files)) == ("kaggle", {"a"})
    assert result.notes == (
        "tables that are not used: coco.json, sample_submission.csv",
        "2 image file(s) that the kaggle layout does not use: test/b.png, test/c.png",
        "files that are not read: .webp (1)",
    )


def test_images_that_a_coco_json_does_not_list_are_said(tmp_path: Path) -> None:
    files = {"coco.json": json.dumps(COCO), "._coco.json": "", "a.png": "", "more/b.png": ""}
    result = read_source(fill(tmp_path / "source", files))
    assert set(result.files) == {"a"}
    assert result.notes == (
        "1 image file(s) that the coco layout does not use: more/b.png",
        "passed over, as no images: hidden files or leftovers of an operating system (1)",
    )


def test_a_table_that_can_not_be_read_says_how_to_go_on_without(tmp_path: Path) -> None:
    folder = fill(tmp_path / "source", {"config.json": "{}", "a.png": ""})
    with pytest.raises(DataError, match=r"config\.json .*\. Or say --layout images"):
        read_source(folder)


def test_what_an_archive_puts_beside_its_images_is_passed_over_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "cd"
    (folder / "__MACOSX/deeper").mkdir(parents=True)
    (folder / "@eaDir").mkdir()
    film(folder / "IM1.dcm")
    film(folder / "IM2")
    for name in ("._IM1.dcm", ".DS_Store", "Thumbs.db", "__MACOSX/._a", "__MACOSX/deeper/b.png"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    Image.new("L", (9, 9)).save(folder / "@eaDir/thumbnail.jpg")
    shutil.copy(get_testdata_file("reportsi.dcm"), folder / "report.dcm")  # type: ignore[arg-type]
    shutil.copy(get_testdata_file("rtplan.dcm"), folder / "plan")  # type: ignore[arg-type]
    dataset = pydicom.dcmread(folder / "IM1.dcm")
    dataset.PatientID = dataset.StudyID = "1"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.StudyDate, dataset.StudyTime = "20260101", "0000"
    files = FileSet()
    files.add(dataset)
    files.write(tmp_path / "set")
    shutil.copy(tmp_path / "set/DICOMDIR", folder / "DICOMDIR")
    result = read_source(folder)
    assert (set(result.files), result.faults) == ({"IM1", "IM2"}, {})
    assert result.notes == (
        "passed over, as no images: DICOM without an image: Basic Text SR (1), "
        "DICOM without an image: Media Storage Directory (1), DICOM without an image: RT Plan (1), "
        "hidden files or leftovers of an operating system (6)",
    )
    assert [path.name for path in image_files(folder)] == ["IM1.dcm", "IM2"]


def test_pipes_and_links_are_not_followed_where_they_lead_nowhere(tmp_path: Path) -> None:
    folder = fill(tmp_path / "source", {"a.png": ""})
    fill(tmp_path / "elsewhere", {"b.png": "", "c.png": ""})
    os.mkfifo(folder / "pipe.dcm")
    (folder / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    (folder / "b.png").symlink_to(tmp_path / "elsewhere/b.png")
    result = read_source(folder)
    assert set(result.files) == {"a", "b"}
    assert result.notes == (
        "passed over, as no images: linked folders, which are not entered (1), "
        "links that lead to no file (1), pipes, sockets or devices (1)",
    )


def test_a_folder_that_can_not_be_listed_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "source", {"a.png": ""})
    with pytest.raises(DataError, match=r"gone can't be listed .*images in it would be missed"):
        list_folder(folder / "gone")


def test_only_what_says_that_it_is_no_image_is_passed_over(tmp_path: Path) -> None:
    film(tmp_path / "film.dcm")
    dataset = pydicom.dcmread(tmp_path / "film.dcm")
    for name, uid, kind in (
        ("secondary", "1.2.840.10008.5.1.4.1.1.7", None),
        ("private", "1.2.826.0.1.3680043.2.1143.7", None),
        ("segmentation", "1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
    ):
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = uid
        dataset.save_as(tmp_path / f"{name}.dcm")
        assert kind_without_image(tmp_path / f"{name}.dcm") == kind
    del dataset.Rows, dataset.PixelData
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.826.0.1.3680043.2.1143.7"
    dataset.save_as(tmp_path / "no_rows.dcm")
    assert kind_without_image(tmp_path / "no_rows.dcm") == "a private object without rows"
    content = (tmp_path / "film.dcm").read_bytes()
    for end in (0, 100, 132, 140, 200, 300, 700):
        (tmp_path / "cut.dcm").write_bytes(content[:end])
        assert kind_without_image(tmp_path / "cut.dcm") is None
    assert kind_without_image(tmp_path / "nowhere.dcm") is None


@pytest.mark.parametrize("wrote", ["origin.json", "images-00000-of-00002.arrow"])
def test_a_store_inside_its_own_source_is_passed_over(tmp_path: Path, wrote: str) -> None:
    film(tmp_path / "a.dcm")
    before = read_source(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    for name in (wrote, "manifest.json", "boxes.parquet"):
        (store / name).write_text("{}")
    again = read_source(tmp_path)
    assert (again.layout, again.files) == (before.layout, before.files)
    assert again.notes == ("passed over, as no images: stores that cxrssl wrote (1)",)
    # A folder with images is one of images, whatever else is in it.
    film(store / "b.dcm")
    with pytest.raises(DataError, match=r"store/"):
        read_source(tmp_path)
    assert set(read_source(tmp_path, layout="images").files) == {"a", "b"}
