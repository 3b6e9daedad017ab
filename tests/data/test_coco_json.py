"""What is said of a JSON that is no COCO file, or of an entry that is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import read_source

_LISTS: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "nodule"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
}


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"annotations": None}, "is no COCO file: expected a list 'annotations'; found null"),
        ({"images": {"a": 1}}, "is no COCO file: expected a list 'images'; found an object"),
        ({"images": ["a.png"]}, "entry 0 of images is a text; expected an object"),
        ({"annotations": [7]}, "entry 0 of annotations is a number; expected an object"),
        ({"images": [{"id": 1}]}, "entry 0 of images has no file_name"),
        (
            {"images": [{"id": 1.5, "file_name": "a.png"}]},
            "entry 0 of images has the id 1.5, which is no whole number",
        ),
        (
            {"images": [{"id": 1, "file_name": None}]},
            "entry 0 of images has a file_name that is no text",
        ),
        (
            {"categories": [{"id": True, "name": "n"}]},
            "entry 0 of categories has an id that is neither a number nor a text: bool",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words(
    tmp_path: Path, lists: dict[str, Any], expected: str
) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(_LISTS | lists))
    with pytest.raises(DataError) as told:
        read_source(tmp_path)
    assert f"{expected}." in str(told.value)


def test_a_list_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"shapes": [], "imagePath": "a.png"}))
    with pytest.raises(DataError, match="expected a list 'categories'; there is none"):
        read_source(tmp_path)


def test_a_rotation_beyond_all_numbers_is_a_fault_of_its_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    mark = _LISTS["annotations"][0] | {"rotation": 10**400}
    (tmp_path / "labels.json").write_text(json.dumps(_LISTS | {"annotations": [mark]}))
    assert "its rotation is no number" in read_source(tmp_path).faults["a"]
