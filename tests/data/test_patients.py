"""Patients and a source's own split: read, kept together, and refused where they leak."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.config.load import load_recipe, recipe_path
from cxrssl.config.schema import PretrainRecipe
from cxrssl.core.errors import DataError
from cxrssl.data.detection import patients_of, splits_of, unread_ids
from cxrssl.data.protocol import labelled_ids, pool_ids, split_images
from cxrssl.data.store import Store
from cxrssl.data.tables import ReadOptions, Source, read_source
from cxrssl.doctor import doctor
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.pretrain.pool import pool_images

HEADER = "image,label,xmin,ymin,xmax,ymax"


def films(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (20, 30), np.uint8)
        Image.fromarray(noise).save(path)
    return folder


def boxed(folder: Path, names: list[str], *, columns: str = "", cells: list[str] = []) -> Path:  # noqa: B006
    films(folder, names)
    rows = [f"{name},mass,1,2,11,12" for name in names]
    if cells:
        rows = [f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)]
    (folder / "boxes.csv").write_text("\n".join([HEADER + columns, *rows]) + "\n")
    return folder


def groups(source: Source) -> set[frozenset[str]]:
    """Return the sets of images that have one patient."""
    by: dict[str, set[str]] = {}
    for name, patient in source.table.patients.items():
        by.setdefault(patient, set()).add(name)
    return {frozenset(names) for names in by.values()}


def test_a_column_a_pattern_and_names_of_nih_tell_patients(tmp_path: Path) -> None:
    names = ["00000013_005.png", "00000013_006.png", "00000014_000.png"]
    expected = {
        frozenset({"00000013_005", "00000013_006"}),
        frozenset({"00000014_000"}),
    }
    nih = read_source(boxed(tmp_path / "nih", names))
    assert groups(nih) == expected
    assert any("as those of NIH" in note for note in nih.notes)
    column = boxed(tmp_path / "column", names, columns=",Patient ID", cells=["x", "x", "y"])
    assert groups(read_source(column)) == expected
    for pattern in (r"^(\d+)_", r"(?P<patient>\d{8})", r"\d{8}"):
        assert groups(read_source(column, patient_from=pattern)) == expected
    folders = boxed(tmp_path / "folders", ["Ann/1.png", "Ann/2.png", "Ben/3.png"])
    assert not read_source(folders).table.patients
    by_folder = read_source(folders, patient_from="^([^/]+)/")
    assert groups(by_folder) == {frozenset({"1", "2"}), frozenset({"3"})}
    assert "Ann" not in json.dumps(dict(by_folder.table.patients)), "a patient's name is not kept"


def test_empty_words_are_no_patient_and_odd_patients_are_said(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(12)]
    cells = ["Unknown", "nan", " p1", "P1", *["p2"] * 8]
    result = read_source(boxed(tmp_path, names, columns=",patient", cells=cells))
    assert set(result.table.patients) == {str(number) for number in range(2, 12)}
    notes = " ".join(result.notes)
    assert "8 of 10 image(s) are of one patient: is it the right column" in notes
    assert "1 patient(s) differ from another in case or blanks alone" in notes
    assert "2 image(s) have no patient" in notes


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "is not a regular expression"), ("^zzz", "finds no patient in the 1 files")],
)
def test_a_pattern_that_finds_nobody_is_an_error(
    pattern: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_source(boxed(tmp_path, ["a.png"]), patient_from=pattern)


def test_images_of_a_patient_are_in_one_split_and_one_side_of_the_labels() -> None:
    ids = [f"i{number}" for number in range(600)]
    patients = {name: f"p{number // 3 % 90}" for number, name in enumerate(ids)}
    splits = split_images(ids, protocol="corrected", patients=patients)
    for split in ("train", "val", "test"):
        others = {patients[n] for n in ids if splits[n] != split}
        assert not others & {patients[n] for n in ids if splits[n] == split}
    train = [name for name in ids if splits[name] == "train"]
    before: set[str] = set()
    for fraction in (0.1, 0.25, 0.5, 1.0):
        chosen = {"fraction": fraction, "seed": 3, "protocol": "corrected", "patients": patients}
        seen = set(labelled_ids(train, **chosen))  # type: ignore[arg-type]
        assert before <= seen, "nested"
        assert abs(len(seen) - fraction * len(train)) <= 4
        assert not {patients[n] for n in seen} & {patients[n] for n in set(train) - seen}
        before = seen
    rest = pool_ids(train, fraction=0.75, seed=3, protocol="corrected", patients=patients)
    seen = set(labelled_ids(train, fraction=0.25, seed=3, protocol="corrected", patients=patients))
    assert set(rest) == set(train) - seen


def test_without_patients_nothing_is_divided_otherwise() -> None:
    ids = [f"i{number}" for number in range(100)]
    alone = dict.fromkeys(ids, "")
    for patients in (None, alone):
        splits = split_images(ids, protocol="corrected", patients=patients)
        assert splits == split_images(ids, protocol="corrected")
        labelled = labelled_ids(ids, fraction=0.3, seed=1, protocol="corrected", patients=patients)
        assert len(labelled) == 30


NAMES = [f"train/a{n}.png" for n in range(4)] + ["valid/b.png", "test/c.png"]


def test_folders_are_the_split_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = boxed(tmp_path, NAMES)
    plain = read_source(folder)
    assert not plain.table.parts
    assert any("Say --split folders" in note for note in plain.notes)
    own = read_source(folder, split="folders")
    assert own.table.parts == {f"a{n}": "train" for n in range(4)} | {"b": "val", "c": "test"}
    with pytest.raises(DataError, match="no image of"):
        read_source(boxed(tmp_path / "flat", ["a.png"]), split="folders")


def test_a_column_is_the_split_without_asking_and_reaches_the_store(tmp_path: Path) -> None:
    cells = ["train", "train", "train", "Training", "validation", "TEST"]
    folder = boxed(tmp_path / "source", NAMES, columns=",split", cells=cells)
    ingest(folder, tmp_path / "store", Settings(16), num_workers=1)
    store = Store(tmp_path / "store")
    splits = splits_of(store, protocol="corrected", normals=False)
    assert splits == {f"a{n}": "train" for n in range(4)} | {"b": "val", "c": "test"}
    ingest(
        folder, tmp_path / "store", Settings(16), options=ReadOptions(split="none"), num_workers=1
    )
    assert {image.part for image in Store(tmp_path / "store").images} == {""}


def test_without_test_images_those_of_validation_are_the_test(tmp_path: Path) -> None:
    cells = ["train"] * 4 + ["val", "val"]
    result = read_source(boxed(tmp_path, NAMES, columns=",split", cells=cells))
    assert result.table.parts == {f"a{n}": "train" for n in range(4)} | {"b": "test", "c": "test"}
    assert any("validation images are the test" in note for note in result.notes)


def test_a_file_is_the_split(tmp_path: Path) -> None:
    folder = boxed(tmp_path / "source", NAMES)
    file = tmp_path / "split.csv"
    text = "image,split\na0,train\ntrain/a1.png,train\na2.png,train\nc,test\n"
    file.write_text(text.replace(",", ";"))
    in_semicolons = read_source(folder, split=str(file)).table.parts
    file.write_text(text)
    result = read_source(folder, split=str(file))
    assert in_semicolons == result.table.parts
    assert result.table.parts == {
        "a0": "train", "a1": "train", "a2": "train", "a3": "unused", "b": "unused", "c": "test"
    }  # fmt: skip
    assert any(note.startswith("2 image(s) are in no part") for note in result.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,split\na0,train\nzz,test\n", "split.csv, line 3 names an image that is not in"),
        ("image,split\na0,train\na1,trian\n", "split.csv, line 3: the split is 'trian'"),
        ("image,split\na0,train\na1,\n", "split.csv, line 3: the split is empty"),
        ("image,split\na0,train\na0.png,test\n", "line 2 and split.csv, line 3 put one image into"),
        ("image,split\na0,test\n", "has no training images"),
        ("image,part\na0,test\n", "expected the columns image and split; it has image, part"),
        ("", "it has none"),
    ],
)
def test_a_split_file_that_can_not_be_meant_is_an_error_with_its_line(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_source(boxed(tmp_path / "source", NAMES), split=str(file))
    with pytest.raises(DataError, match="can't be read"):
        read_source(tmp_path / "source", split=str(tmp_path / "nowhere.csv"))


def test_a_patient_in_two_parts_is_an_error_and_fails_doctor(tmp_path: Path) -> None:
    cells = ["p1,train", "p2,train", "p3,train", "p4,train", "p5,val", "p1,test"]
    folder = boxed(tmp_path / "source", NAMES, columns=",patient,split", cells=cells)
    with pytest.raises(DataError, match=r"a patient into two .*: a0 \(train\) and c \(test\)"):
        read_source(folder)
    diagnosis = doctor(folder, num_workers=1)
    assert not diagnosis["ok"]
    assert "a patient into two" in diagnosis["table"][0]
    assert doctor(folder, num_workers=1, split="none")["ok"]
    file = tmp_path / "split.csv"
    file.write_text("image,split\na0,train\nc,test\n")
    with pytest.raises(DataError, match=r"a0 \(train, split\.csv, line 2\) and c \(test, split"):
        read_source(folder, split=str(file))


def test_the_store_keeps_a_hash_of_the_patient(tmp_path: Path) -> None:
    folder = boxed(
        tmp_path / "source", ["a.png", "b.png"], columns=",patient", cells=["Ann", "Ann"]
    )
    summary = ingest(folder, tmp_path / "store", Settings(16), num_workers=1)
    assert str(summary.marks).startswith("layout csv: 2 images of 1 patient, 2 boxes")
    patients = patients_of(Store(tmp_path / "store"))
    assert len(set(patients.values())) == 1
    assert set(patients) == {"a", "b"}
    content = b"".join(path.read_bytes() for path in (tmp_path / "store").iterdir())
    assert b"Ann" not in content


def test_protocols_of_the_paper_refuse_a_split_that_they_can_not_follow() -> None:
    parts = {"a": "train", "b": "val", "c": "test"}
    with pytest.raises(DataError, match="--split none"):
        split_images(list(parts), protocol="published", parts=parts)


def test_unread_films_are_for_the_pool_but_those_of_a_patient_of_the_test(tmp_path: Path) -> None:
    folder = boxed(tmp_path / "source", ["p1_a.png", "p2_a.png", "p3_a.png"])
    films(folder, ["p1_b.png", "p3_b.png", "p4_b.png", "p5_b.png"])
    file = tmp_path / "split.csv"
    file.write_text("image,split\np1_a,train\np2_a,val\np3_a,test\np5_b,test\n")
    options = ReadOptions(patient_from="^(p[0-9])_", split=str(file))
    ingest(folder, tmp_path / "store", Settings(16), options=options, num_workers=1)
    store = Store(tmp_path / "store")
    splits = splits_of(store, protocol="corrected", normals=True)
    assert splits == {"p1_a": "train", "p2_a": "val", "p3_a": "test"}
    assert unread_ids(store, splits) == ["p1_b", "p4_b"]
    changes = [f"data.store={store.folder}", "batch_size=2", "optim.warmup_steps=1", "max_steps=2"]
    recipe = load_recipe(recipe_path("own", "pretrain"), PretrainRecipe, overrides=changes)
    _, batches = pool_images(store, recipe)
    assert len(batches.order(0)) == 3, "with the one that was read"


def test_copies_of_one_film_under_two_patients_are_said(tmp_path: Path) -> None:
    cells = ["p1,train", "p1,train", "p2,train", "p3,test"]
    names = ["a.png", "b.png", "c.png", "d.png"]
    folder = boxed(tmp_path, names, columns=",patient,split", cells=cells)
    film = np.random.default_rng(9).integers(0, 256, (64, 64), np.uint8)
    for name in names[:3]:
        Image.fromarray(film).save(folder / name)
    pairs = doctor(folder, num_workers=1)["duplicates"]
    told = {tuple(pair["images"]): pair["two_patients"] for pair in pairs}
    assert told == {("a", "b"): False, ("a", "c"): True}
