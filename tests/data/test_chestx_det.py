"""ChestX-Det and ChestX-Det10, by made files of their form; numbers by hand."""

from pathlib import Path

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import read_source
from published_data import boxes, made, patients, read_as

# The first is the example of ChestX-Det10's README.
README = {
    "file_name": "00000042_006.png", "syms": ["Fibrosis", "Fibrosis"],
    "boxes": [[632, 721, 909, 969], [129, 611, 474, 909]],
}  # fmt: skip
POLYGONS = [[[233, 666], [258, 666], [258, 693]]]
TRAIN = [
    README,
    {"file_name": "36204.png", "syms": ["Diffuse Nodule"], "boxes": [[233, 666, 258, 693]]},
    {"file_name": "36200.png", "syms": [], "boxes": []},
]
TEST = [{"file_name": "36199.png", "syms": ["Mass"], "boxes": [[1, 2, 30.5, 40]]}]
IMAGES = ["00000042_006.png", "36204.png", "36200.png"]
EXPECTED = {
    "00000042_006": [
        ("R0", "Fibrosis", (632, 721, 909, 969)), ("R0", "Fibrosis", (129, 611, 474, 909)),
    ],
    "36204": [("R0", "Diffuse Nodule", (233, 666, 258, 693))],
    "36200": [("R0", "No finding", ())],
    "36199": [("R0", "Mass", (1, 2, 30.5, 40))],
}  # fmt: skip
NAMES = [("ChestX_Det_train.json", "ChestX_Det_test.json"), ("train.json", "test.json")]
FOLDERS = [("train", "test"), ("train_data/train", "test_data/test"), ("train_data", "test_data")]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("folders", FOLDERS)
def test_boxes_and_splits(names: tuple[str, str], folders: tuple[str, str], tmp_path: Path) -> None:
    train = [{**entry, "polygons": POLYGONS} for entry in TRAIN]
    images = [*(f"{folders[0]}/{name}" for name in IMAGES), f"{folders[1]}/36199.png"]
    source = read_as("chestx-det", made(tmp_path, {names[0]: train, names[1]: TEST}, images))
    assert boxes(source) == EXPECTED
    table = source.table
    assert table.parts == {
        **dict.fromkeys(["00000042_006", "36204", "36200"], "train"), "36199": "test"
    }  # fmt: skip
    assert patients(source) == {frozenset({"00000042_006"})}
    assert set(table.sizes.values()) == {(1024, 1024)}
    assert not table.kinds, "without one of its classes, not normal"
    assert not source.faults
    assert source.notes[0].startswith("3 film(s) have names that tell no patient")


def test_the_later_version_is_read(tmp_path: Path) -> None:
    files = {"ChestX_Det_train.json": TRAIN, "train.json": TRAIN[1:], "test.json": TEST}
    images = [f"train/{name}" for name in IMAGES]
    source = read_as("chestx-det", made(tmp_path, files, images))
    assert [path.name for path in source.tables] == ["ChestX_Det_train.json"]
    assert "tables that are not used: test.json, train.json" in source.notes


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"syms": ["Mass"], "boxes": []}, "it has 1 class(es) (syms) and 0 box(es)"),
        ({"syms": [], "boxes": [[1, 2, 3, 4]]}, "it has 0 class(es) (syms) and 1 box(es)"),
        ({"syms": ["Mass"], "boxes": [[1, 2, 3]]}, "other than four numbers"),
        ({"syms": [" "], "boxes": [[1, 2, 3, 4]]}, "a class (syms) has no name"),
        ({"syms": ["Mass"], "boxes": [[5, 2, 3, 4]]}, "a box without an area, (5, 2, 3, 4)"),
        ({"syms": ["Mass"], "boxes": [[0.1, 0.2, 0.3, 0.4]]}, "seems to be in fractions"),
    ],
)
def test_a_bad_entry_is_a_fault_of_its_film(
    entry: dict[str, object], text: str, tmp_path: Path
) -> None:
    files = {"train.json": [*TRAIN, {"file_name": "7.png", **entry}]}
    images = [f"train/{name}" for name in [*IMAGES, "7.png"]]
    source = read_as("chestx-det", made(tmp_path, files, images))
    assert list(source.faults) == ["7"]
    assert "train.json, entry 3" in source.faults["7"]
    assert text in source.faults["7"]
    assert not source.table.unread


def test_a_film_that_is_missing_or_there_twice_is_a_fault(tmp_path: Path) -> None:
    train = [*TRAIN, {"file_name": "8.png", "syms": [], "boxes": []}]
    source = read_as(
        "chestx-det", made(tmp_path, {"train.json": train}, [f"x/{name}" for name in IMAGES])
    )
    assert list(source.faults) == ["8"]
    made(tmp_path, {}, ["y/36200.png"])
    assert set(read_source(tmp_path).faults) == {"8", "36200"}


@pytest.mark.parametrize(
    "content",
    [{"images": []}, [{"file_name": "a.png"}], [1], "[", b"\xff\xfe", "", [{"syms": 1}]],
)
def test_a_strangers_train_json_is_not_the_data_sets(content: object, tmp_path: Path) -> None:
    made(tmp_path, {"data/train.json": content}, ["train/a.png"])
    with pytest.raises(DataError, match=r"no layout reads them where they are: data/train\.json"):
        read_source(tmp_path)
    with pytest.raises(DataError, match="holds no table of the layout chestx-det"):
        read_source(tmp_path, layout="chestx-det")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{"file_name": "a.png", "syms": "Mass", "boxes": []}', "got `str` - at `.*syms`"),
        ('{"file_name": "a.png", "syms": [], "boxes": [NaN]}', "is not JSON"),
        ('{"file_name": "a.png", "syms": [], "boxes": []},', "is not JSON"),
        ('{"syms": [], "boxes": []}, {"file_name": "a.png"}', "missing required field `file_name`"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(entry: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"train.json.*{message}"):
        read_source(made(tmp_path, {"train.json": f"[{entry}]"}, ["train/a.png"]))
