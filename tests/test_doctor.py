"""Doctor: says what is wrong with each file, the table and the splits, and exits with 1."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from cxrssl.core.errors import DataError
from cxrssl.data.protocol import split_of
from cxrssl.doctor import doctor
from support import run_cxrssl


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    return folder


def test_a_sound_source_is_sound(source: Path) -> None:
    diagnosis = doctor(source, num_workers=2)
    assert (diagnosis["ok"], diagnosis["images"], diagnosis["faults"]) == (True, 30, 0)
    assert sum(diagnosis["routes"].values()) == 30
    assert {name for name, entry in diagnosis["files"].items() if "route" in entry} == {
        path.stem for path in (source / "train").iterdir()
    }
    assert any("JPEG 2000" in route for route in diagnosis["routes"])
    assert not any("reduce" in route for route in diagnosis["routes"])  # decoded whole


def test_the_terminal_says_so_and_exits_with_0(source: Path) -> None:
    done = run_cxrssl("doctor", source)
    assert done.returncode == 0
    assert "30 images decoded" in done.stdout
    assert "Nothing is wrong." in done.stdout


def test_every_kind_of_fault_is_named_and_json_is_all_of_stdout(copy: Path) -> None:
    table = pd.read_csv(copy / "train.csv")
    names = sorted(table["image_id"].unique())
    cut = copy / "train" / f"{names[0]}.dicom"
    cut.write_bytes(cut.read_bytes()[:-700])
    (copy / "train" / f"{names[1]}.dicom").unlink()
    drawn = table.index[table["class_id"].ne(14)]
    table = pd.concat([table, table.loc[drawn[:2]]])
    table.to_csv(copy / "train.csv", index=False)
    done = run_cxrssl("doctor", copy, "--json")
    assert done.returncode == 1
    diagnosis = json.loads(done.stdout)
    faults = {name for name, entry in diagnosis["files"].items() if "fault" in entry}
    assert faults == {names[0], names[1]}
    assert "there is no file" in diagnosis["files"][names[1]]["fault"]
    assert "2 rows repeat another row word for word" in diagnosis["table"][0]
    assert not diagnosis["ok"]
    shown = run_cxrssl("doctor", copy)
    assert shown.returncode == 1
    assert "Wrong: 2 files, 1 thing about the table, 0 pairs across splits." in shown.stdout


def test_a_copy_in_another_split_is_wrong_and_one_in_the_same_is_told(copy: Path) -> None:
    table = pd.read_csv(copy / "train.csv")
    name = next(name for name in table["image_id"] if split_of(name) == "train")
    twins = {
        split: next(f"copy{n}" for n in range(99) if split_of(f"copy{n}") == split)
        for split in ("test", "train")
    }
    for twin in twins.values():
        shutil.copy(copy / "train" / f"{name}.dicom", copy / "train" / f"{twin}.dicom")
        rows = table[table["image_id"].eq(name)].assign(image_id=twin)
        table = pd.concat([table, rows])
    table.to_csv(copy / "train.csv", index=False)
    diagnosis = doctor(copy, num_workers=2)
    across = {tuple(sorted(p["images"])): p["across_splits"] for p in diagnosis["duplicates"]}
    assert across == {
        (first, second): (split_of(first) != split_of(second))
        for first in [min(name, *twins.values())]
        for second in sorted({name, *twins.values()} - {first})
    }
    assert set(across.values()) == {True, False}
    assert not diagnosis["ok"]
    shown = run_cxrssl("doctor", copy).stdout
    across_splits = sum(across.values())
    assert shown.count("are one image: 0 of 256 bits differ") == across_splits
    num_within = len(across) - across_splits
    pairs = "1 pair" if num_within == 1 else f"{num_within} pairs"
    assert f"{pairs} of images within one split are one image" in shown


def test_a_reader_who_contradicts_themselves_is_named(copy: Path) -> None:
    table = pd.read_csv(copy / "train.csv")
    row = table[table["class_id"].ne(14)].iloc[0]
    nothing = {**row.to_dict(), "class_name": "No finding", "class_id": 14}
    table = pd.concat([table, pd.DataFrame([nothing])])
    table.to_csv(copy / "train.csv", index=False)
    diagnosis = doctor(copy, num_workers=2)
    assert "1 times a reader both found something and marked 'No finding'" in diagnosis["table"][0]
    assert f"{row['rad_id']} in image {row['image_id']}" in diagnosis["table"][0]


def test_a_table_that_can_not_be_read_is_a_fault_and_no_crash(copy: Path) -> None:
    (copy / "train.csv").write_text("image_id,class_name\na,ILD\n")
    diagnosis = doctor(copy, num_workers=1)
    assert "has no column" in diagnosis["table"][0]
    assert not diagnosis["ok"]
    with pytest.raises(DataError, match="is not a folder"):
        doctor(copy / "nowhere", num_workers=1)


def test_a_syntax_that_no_decoder_reads_comes_with_advice(copy: Path) -> None:
    files = {path: pydicom.dcmread(path) for path in sorted((copy / "train").iterdir())}
    path, dataset = next(
        (path, dataset)
        for path, dataset in files.items()
        if dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless
    )
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    dataset.save_as(path)
    diagnosis = doctor(copy, num_workers=1)
    fault = diagnosis["files"][path.stem]["fault"]
    assert "MPEG2" in fault
    assert "store the file uncompressed or as JPEG 2000 lossless" in fault
