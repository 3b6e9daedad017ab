"""Files that are broken, packed, huge or elsewhere: told with their place, never followed."""

import gzip
import json
from pathlib import Path

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import published_files, read_source
from cxrssl.data.tables.chestx_det import read_chestx_det
from cxrssl.data.tables.published_files import PublishedSource, number_in, records_of
from published_data import boxes, made, read_as

LABELS = "stage_2_train_labels.csv"
ROWS = "patientId,x,y,width,height,Target\na,,,,,0\nb,1,2,30,40,1\n"
IMAGES = ["stage_2_train_images/a.png", "stage_2_train_images/b.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS + "b,1,2,30\n", rf"{LABELS}, line 4: it has 4 cells, and the header 6"),
        (ROWS.replace(",Target", ",x,Target"), r"line 1: the column 'x' is there twice"),
        (ROWS.split("\n", 1)[0], rf"{LABELS} has a header and no rows"),
        (ROWS + '"b,1,2,30,40,1\n', rf"{LABELS} can't be read: unexpected end of data"),
        (ROWS.encode() + b"\xff\xfe,1,2,3,4,1\n", rf"{LABELS} can't be read: 'utf-8' codec"),
    ],
)
def test_a_broken_table_is_an_error_with_its_place(
    content: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_source(made(tmp_path, {LABELS: content}, IMAGES))


def test_a_packed_table_is_read_and_a_broken_pack_told(tmp_path: Path) -> None:
    packed = gzip.compress(ROWS.encode())
    source = read_as("rsna", made(tmp_path, {f"{LABELS}.gz": packed}, IMAGES))
    assert set(boxes(source)) == {"a", "b"}
    long = gzip.compress(ROWS.encode() + b"b,1,2,30,40,1\n" * 5000)
    made(tmp_path, {f"{LABELS}.gz": long[:-20]})
    with pytest.raises(DataError, match=rf"{LABELS}\.gz can't be read: Compressed file ended"):
        read_source(tmp_path)


def test_a_line_a_table_and_a_json_have_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_files, "_MAX_LINE_CHARACTERS", 100)
    made(tmp_path, {LABELS: ROWS + "b," + "1" * 200 + ",2,3,4,1\n"}, IMAGES)
    with pytest.raises(DataError, match=rf"{LABELS} has a line of more than 100 characters"):
        read_source(tmp_path)
    monkeypatch.setattr(published_files, "_MAX_ROWS", 1)
    with pytest.raises(DataError, match="has more than 1 rows"):
        records_of(made(tmp_path, {LABELS: ROWS}) / LABELS, LABELS, ["patientId"])
    entries = [{"file_name": "a.png", "syms": [], "boxes": []}]
    made(tmp_path / "det", {"train.json": entries}, ["det/train/a.png"])
    monkeypatch.setattr(published_files, "_MAX_JSON_BYTES", 10)
    with pytest.raises(DataError, match=r"train\.json has more than 0 MiB"):
        read_chestx_det(PublishedSource(tmp_path / "det", [tmp_path / "det/train.json"], []))
    with pytest.raises(DataError, match=r"train\.json"):
        read_source(tmp_path / "det")


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    made(tmp_path, {"secret.csv": ROWS}, ["outside/b.png"])
    folder = made(tmp_path / "source", {LABELS: ROWS + "../outside/c,1,2,3,4,1\n"}, IMAGES[:1])
    (folder / "stage_2_train_images/b.png").symlink_to(tmp_path / "outside/b.png")
    source = read_as("rsna", folder)
    assert not source.table.rows["image_id"].isin(["b", "c"]).any()
    assert "leads out of the folder" in source.faults["c"]
    assert "there is no file b" in source.faults["image-2"]
    entries = [{"file_name": "../../outside/b.png", "syms": [], "boxes": []}]
    detections = made(tmp_path / "det", {"train.json": entries}, ["train/a.png"])
    assert "leads out of the folder" in str(read_as("chestx-det", detections).faults)


def test_names_of_images_with_blanks_and_without_ascii(tmp_path: Path) -> None:
    entries = [
        {"file_name": f"{name}.png", "syms": ["Mass"], "boxes": [[1, 2, 30, 40]]}
        for name in ("a", "Jäne Doe", "b c")
    ]
    images = [f"train/{entry['file_name']}" for entry in entries]
    source = read_as("chestx-det", made(tmp_path, {"train.json": entries}, images))
    assert set(boxes(source)) == {"a"}
    assert source.faults
    assert "Doe" not in str(source.faults)
    assert "Doe" not in str(source.notes)


def test_a_folder_without_images_has_faults_alone(tmp_path: Path) -> None:
    source = read_as("rsna", made(tmp_path, {LABELS: ROWS}))
    assert set(source.faults) == {"a", "b"}
    assert not source.files


def test_a_json_nested_without_end_is_told(tmp_path: Path) -> None:
    text = '[{"file_name": "a", "syms": [], "boxes": ' + "[" * 100_000 + "]" * 100_000 + "}]"
    with pytest.raises(DataError, match=r"train\.json"):
        read_source(made(tmp_path, {"train.json": text}, ["train/a.png"]))
    bom = "﻿" + json.dumps([{"file_name": "a.png", "syms": [], "boxes": []}])
    assert read_as("chestx-det", made(tmp_path, {"train.json": bom})).files


def test_numbers_in_cells() -> None:
    assert [number_in(text) for text in ("1", "-2.5", "1e3", "x", "1,5")] == [
        1, -2.5, 1000, float("inf"), float("inf"),
    ]  # fmt: skip
    assert all(number_in(text) != number_in(text) for text in ("", "nan", "NaN", "None"))
