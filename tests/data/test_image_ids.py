"""Image ids: files of one name get different ids, whatever their order and their folders."""

import random
from pathlib import PurePosixPath

import pytest

from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids
from cxrssl.data.tables.rows import is_id


def ids(*paths: str) -> list[str | None]:
    made = image_ids(map(PurePosixPath, paths))[0]
    return [made.get(PurePosixPath(path)) for path in paths]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.png", "deep/b.jpg", "1.2.840"], ["a", "b", "1.2.840"]),
        (["site1/IM1.png", "site2/IM1.png", "c.png"], ["site1_IM1", "site2_IM1", "c"]),
        (["all/site1/IM1.png", "all/site2/IM1.png"], ["site1_IM1", "site2_IM1"]),
        (["IM1.dcm", "site2/IM1.dcm"], ["IM1", "site2_IM1"]),
        (["a.png", "a.jpg", "a"], ["a_png", "a_jpg", "a"]),
        (["x/a.png", "x/a.jpg", "y/a.png"], ["x_a_png", "x_a_jpg", "y_a"]),
        (["Jane Doe.png", ".hidden.png", "a.png"], [None, None, "a"]),
    ],
    ids=["plain", "folders", "common", "top", "suffix", "both", "odd"],
)
def test_ids_are_names_and_paths_where_names_clash(
    paths: list[str], expected: list[str | None]
) -> None:
    assert ids(*paths) == expected


def test_an_id_that_was_made_is_no_other_files_and_the_order_does_not_matter() -> None:
    paths = ["a/b.png", "c/b.png", "a_b.png", "x/a_b.png", "d/b.jpg", "d/b.png", "d_b_jpg.png"]
    first = dict(zip(paths, ids(*paths), strict=True))
    assert len(set(first.values())) == len(paths)
    assert all(is_id(name) for name in first.values() if name)
    random.Random(0).shuffle(paths)
    assert dict(zip(paths, ids(*paths), strict=True)) == first


def test_a_folder_that_may_be_a_patients_is_not_carried_into_the_id() -> None:
    result = ids("DOE^JANE/IM1.dcm", "ROE^JIM/IM1.dcm", "x" * 250 + "/IM1.dcm")
    assert len(set(result)) == 3
    assert "DOE" not in str(result)
    assert all(name and is_id(name) and len(name) <= LONGEST_ID for name in result)


def test_ids_that_were_made_are_said_and_others_are_not() -> None:
    assert image_ids([PurePosixPath("a.png")])[1] == []
    notes = image_ids([PurePosixPath("x/a.png"), PurePosixPath("y/a.png")])[1]
    assert notes == [
        "2 files share their name with another file; their image ids are made of folder and name, "
        "such as x_a"
    ]
