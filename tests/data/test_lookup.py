"""File names of tables: the file that is meant is found, none outside the folder is, none twice."""

from pathlib import Path

import pytest

from cxrssl.data.tables.lookup import locate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a source with some files, and a file outside of it."""
    (tmp_path / "secret.png").write_bytes(b"")
    source = tmp_path / "source"
    for name in (
        "top.png",
        "images/a.png",
        "images/ab12cd34-b.png",
        "images/c.png",
        "site1/IM1.png",
        "site2/IM1.png",
        "images/two words.png",
        "__MACOSX/mac.png",
    ):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return source


def place(folder: Path, name: str) -> str | None:
    location = locate(folder, [name])[name]
    return None if location.fault else str(location.path)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("top.png", "top.png"),
        ("./a.png", "images/a.png"),
        ("images/a.png", "images/a.png"),
        ("images\\a.png", "images/a.png"),
        ("images\\1/a.png", "images/a.png"),
        ("C:\\films\\a.png", "images/a.png"),
        ("/home/somebody/a.png", "images/a.png"),
        ("../../a.png", "images/a.png"),
        ("/data/upload/1/3fa2b1c4-a.png", "images/a.png"),
        ("3fa2b1c4-a.png", "images/a.png"),
        ("/data/upload/7/ab12cd34-b.png", "images/ab12cd34-b.png"),
        ("/data/local-files/?d=images/a.png", "images/a.png"),
        ("/data/local-files/?d=some%5Ca.png", "images/a.png"),
        ("https://host/x/a.png?X-Amz-Signature=0/1.png", "images/a.png"),
        ("s3://bucket/x/a.png", "images/a.png"),
        ("gs://bucket/two%20words.png", "images/two words.png"),
        ("two%20words.png", "images/two words.png"),
        ("A.PNG", "images/a.png"),
        ("site1/IM1.png", "site1/IM1.png"),
        ("/mnt/site2/IM1.png", "site2/IM1.png"),
        ("D:\\SITE2\\IM1.png", "site2/IM1.png"),
    ],
)
def test_a_name_leads_to_the_file_that_is_meant(folder: Path, name: str, path: str) -> None:
    assert place(folder, name) == path


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "https://host/none.png",
        "http://[half/none.png",
        "IM1.png",
        "site3/IM1.png",
        "mac.png",
        "",
        "/",
        "\ud800.png",
        "nul\0.png",
        "n" * 5000,
        "images",
    ],
)
def test_what_is_not_there_outside_or_one_of_several_is_one_line(folder: Path, name: str) -> None:
    location = locate(folder, [name])[name]
    assert location.fault
    assert "\n" not in location.fault
    assert len(location.fault) < 600
    location.fault.encode()


def test_what_was_looked_for_is_said(folder: Path) -> None:
    names = ["x/none.png", "../none.png", "IM1.png"]
    assert [result.fault for result in locate(folder, names).values()] == [
        "there is no file x/none.png in the folder or its images/, and none in the folders below "
        "is called none.png",
        "../none.png leads out of the folder, which is not followed, and none in the folders below "
        "is called none.png",
        "there is no file IM1.png in the folder or its images/; 2 files elsewhere are called so",
    ]


def test_no_link_out_of_the_folder_is_followed(folder: Path) -> None:
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "deep").symlink_to(folder.parent)
    (folder / "in.png").symlink_to(folder / "images" / "a.png")
    assert place(folder, "in.png") == "in.png"
    for name in ("out.png", "deep/secret.png", "x/out.png", "x/secret.png"):
        assert place(folder, name) is None
    assert "is a link out of the folder" in locate(folder, ["out.png"])["out.png"].fault


def test_a_source_that_is_a_link_itself_is_read(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert place(folder.parent / "link", "x/a.png") == "images/a.png"


def test_a_file_is_guessed_for_one_name_only(folder: Path) -> None:
    uploads = ["/data/upload/1/11111111-c.png", "/data/upload/1/22222222-c.png"]
    result = locate(folder, uploads)
    assert all("c.png is what other names mean as well" in result[name].fault for name in uploads)
    # The file of a name that is right is not taken for another film of that name.
    result = locate(folder, ["images/c.png", "site9/c.png"])
    assert not result["images/c.png"].fault
    assert "other names mean" in result["site9/c.png"].fault
