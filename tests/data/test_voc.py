"""Pascal VOC's XML as tools write it; labelformat writes and reads the same boxes."""

from pathlib import Path

import pytest
from labelformat.formats import PascalVOCObjectDetectionInput, PascalVOCObjectDetectionOutput

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source
from drawn_boxes import NAMES, DrawnBoxes, boxes_of, boxes_read, fill

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax></bndbox>"
SIZE = "<size><width>40</width><height>20</height><depth>1</depth></size>"
CORNERS = (1.0, 2.0, 11.0, 12.0)


def thing(name: str = "mass", box: str = BOX, more: str = "") -> str:
    return f"<object><name>{name}</name>{more}{box}</object>\n"


def document(*things: str, filename: str = "a.png", size: str = SIZE, head: str = "") -> str:
    return (
        f"{head}<annotation>\n<filename>{filename}</filename>{size}\n{''.join(things)}</annotation>"
    )


def source(folder: Path, xml: str | bytes, **others: str) -> Source:
    """Read a folder of two films, one with this XML and one with one that has no object."""
    files = {
        "JPEGImages/a.png": "", "JPEGImages/b.png": "",
        "Annotations/b.xml": document(filename="b.png"),
    }  # fmt: skip
    return read_source(fill(folder, {**files, "Annotations/a.xml": xml, **others}))


def test_boxes_are_those_that_labelformat_writes(tmp_path: Path) -> None:
    drawn = DrawnBoxes(seed=1)
    drawn.write_images(tmp_path / "JPEGImages")
    PascalVOCObjectDetectionOutput(output_folder=tmp_path / "Annotations").save(drawn)
    result = read_source(tmp_path)
    assert (result.layout, result.faults, result.notes) == ("voc", {}, ())
    assert len(boxes_of(drawn.labels)) == 21
    assert boxes_read(result, tmp_path) == boxes_of(drawn.labels)
    assert result.table.classes == tuple(sorted(NAMES))
    assert set(result.table.kinds) == {"film0", "film5", "film10"}, "read, and without a box"
    assert result.table.sizes == {
        f"film{image.id}": (image.width, image.height) for image in drawn.get_images()
    }


def test_boxes_are_those_that_labelformat_reads(tmp_path: Path) -> None:
    box = BOX.replace("11<", "11.25<").replace(">1<", "> 0.5 <")
    xml = document(thing("mass", box), thing("lymph node", more="<difficult>0</difficult>"))
    result = source(tmp_path, xml)
    reader = PascalVOCObjectDetectionInput(
        input_folder=tmp_path / "Annotations", category_names="mass,lymph node"
    )
    assert boxes_read(result, tmp_path) == boxes_of(reader.get_labels())
    assert boxes_read(result, tmp_path) == [
        ("a", "lymph node", CORNERS),
        ("a", "mass", (0.5, 2.0, 11.25, 12.0)),
    ]


@pytest.mark.parametrize(
    ("files", "image_ids"),
    [
        # PASCAL, CVAT: masks are no films, and lists are not read
        ({"JPEGImages/a.png": "", "Annotations/a.xml": document(thing()),
          "SegmentationClass/a.png": "", "ImageSets/Main/train.txt": "a\n"}, ["a"]),
        # Roboflow
        ({"train/a.png": "", "train/a.xml": document(thing()),
          "valid/a.png": "", "valid/a.xml": document(thing())}, ["train_a", "valid_a"]),
        # labelImg on Windows; names with and without a suffix
        ({"images/a.png": "", "annots/a.xml": document(thing(), filename="C:\\x\\a.png")}, ["a"]),
        ({"images/a.png": "", "xml/1.xml": document(thing(), filename="a")}, ["a"]),
        ({"images/a.png": "", "xml/1.xml": document(thing(), filename="a.jpg")}, ["a"]),
        ({"a.png": "", "a.xml": document(thing(), filename="")}, ["a"]),
        ({"train/images/a.png": "", "test/images/a.png": "",
          "train/labels/a.xml": document(thing()), "test/labels/a.xml": document(thing())},
         ["test_images_a", "train_images_a"]),
    ],
)  # fmt: skip
def test_images_are_found_where_tools_put_them(
    files: dict[str, str | bytes], image_ids: list[str], tmp_path: Path
) -> None:
    result = read_source(fill(tmp_path, files))
    assert (result.layout, result.faults) == ("voc", {})
    assert boxes_read(result, tmp_path) == [(name, "mass", CORNERS) for name in image_ids]
    assert not result.table.unread
    assert ("lists of images are not read: ImageSets" in result.notes) == (
        "ImageSets/Main/train.txt" in files
    )


def test_an_xml_whose_filename_is_not_there_is_of_the_image_called_as_it_is(
    tmp_path: Path,
) -> None:
    result = source(tmp_path, document(thing(), filename="../../IMG_0001.jpg"))
    assert boxes_read(result, tmp_path) == [("a", "mass", CORNERS)]
    assert result.notes == (
        "1 XML file(s) name an image that is not there; the one of the XML's own name is used",
    )


def test_what_is_difficult_is_left_out(tmp_path: Path) -> None:
    difficult = thing("node", more="<difficult>1</difficult>")
    result = source(tmp_path / "some", document(thing(), difficult))
    assert boxes_read(result, tmp_path / "some") == [("a", "mass", CORNERS)]
    note = "1 object(s) are to be ignored (difficult) and are not boxes here"
    assert result.notes == (note,)
    result = source(tmp_path / "all", document(difficult))
    assert list(result.table.unmarked) == ["a"], "neither a negative nor a positive"
    assert result.table.rows["image_id"].tolist() == ["b"]


def test_parts_of_an_object_and_a_class_called_no_finding_are_no_boxes(tmp_path: Path) -> None:
    part = f"<part><name>tube</name>{BOX.replace('11', '5')}</part>"
    result = source(tmp_path / "part", document(thing(more=part)))
    assert boxes_read(result, tmp_path / "part") == [("a", "mass", CORNERS)]
    result = source(tmp_path / "none", document(thing("No Finding")))
    assert result.table.kinds == {"a": "normal", "b": "normal"}
    assert any(note.startswith("1 object(s) are called 'No finding'") for note in result.notes)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (document(thing(box="")), "Annotations/a.xml, line 3: mass has no bndbox; expected one"),
        (document(thing(), thing("")), "Annotations/a.xml, line 4: the object has no name"),
        (document(thing(box=BOX.replace("<ymax>12</ymax>", ""))), "line 3: mass has no whole box"),
        (document(thing(box=BOX.replace(">11<", ">nan<"))), "line 3: mass has no whole box"),
        (document(thing(box=BOX.replace(">11<", ">inf<"))), "line 3: mass has no whole box"),
        (document(thing(box=BOX.replace(">11<", ">1<"))), "line 3: mass has a box without an area"),
        (document(thing(box=BOX.replace(">11<", ">.4<").replace(">12<", ">.4<")
                        .replace(">1<", ">.1<").replace(">2<", ">.2<"))),
         "line 3: mass has a box inside one pixel, (0.1, 0.2, 0.4, 0.4): it seems to be in fr"),
        (document(thing(), thing("No finding")),
         "Annotations/a.xml, line 3 and Annotations/a.xml, line 4 contradict each other"),
        (document(thing(), filename="b.png"), "Annotations/a.xml: its filename is that of one"),
        ("", "Annotations/a.xml is not XML: no element found"),
        ("<annotation><object>", "Annotations/a.xml is not XML: no element found: line 1"),
        (document(thing("\xe9")).encode("latin-1"), "not well-formed (invalid token): line 3"),
        (document(thing(), head='<?xml version="1.0" encoding="none"?>'), "its encoding can't be"),
        (document(thing("&x;"), head='<!DOCTYPE annotation [<!ENTITY x "mass">]>'),
         "Annotations/a.xml, line 1: a document type (DOCTYPE) is not read"),
        (document(thing("&x;"), head='<!DOCTYPE annotation [<!ENTITY x SYSTEM "/etc/hostname">]>'),
         "Annotations/a.xml, line 1: a document type (DOCTYPE) is not read"),
        (document("<x>" * 50 + "</x>" * 50), "line 3: elements lie more than 32 deep"),
        (document(" " * (16 << 20)), "Annotations/a.xml has more than 16 MiB"),
    ],
)  # fmt: skip
def test_a_bad_file_is_a_fault_of_its_image_that_names_the_place(
    xml: str | bytes, text: str, tmp_path: Path
) -> None:
    result = source(tmp_path, xml)
    assert list(result.faults) == ["a"]
    assert text in result.faults["a"]
    assert result.table.kinds == {"b": "normal"}
    assert not result.table.unread


@pytest.mark.parametrize(
    "xml",
    [
        document(thing("\xe9")).encode("utf-16"),
        document(thing("\xe9")).encode("utf-8-sig"),
        document(thing("\xe9"), head='<?xml version="1.0" encoding="cp1252"?>').encode("cp1252"),
        document(thing("&#233;")).replace("\n", "\r\n"),
    ],
)
def test_every_encoding_that_an_xml_states_is_read(xml: str | bytes, tmp_path: Path) -> None:
    assert boxes_read(source(tmp_path, xml), tmp_path) == [("a", "\xe9", CORNERS)]


def test_sizes_that_are_not_pixels_are_not_used(tmp_path: Path) -> None:
    unknown = SIZE.replace("40", "0")
    assert source(tmp_path / "0", document(thing(), size=unknown)).table.sizes == {"b": (40, 20)}
    assert source(tmp_path / "-", document(thing(), size="")).table.sizes == {"b": (40, 20)}
    result = source(tmp_path / "x", document(thing(), size=SIZE.replace("40", "forty")))
    assert result.table.sizes == {"b": (40, 20)}
    assert any(note.startswith("width or height of 1 image(s)") for note in result.notes)


def test_two_files_of_one_image_are_a_fault_and_no_two_readers(tmp_path: Path) -> None:
    result = source(tmp_path, document(thing()), **{"More/a.xml": document(thing("node"))})
    assert result.faults == {
        "a": "Annotations/a.xml and More/a.xml are of one image, and the format names no reader. "
        "Leave one of them out."
    }


def test_an_xml_without_its_image_and_an_image_without_an_xml_are_said(tmp_path: Path) -> None:
    files = {"Annotations/z.xml": document(thing(), filename="z.png"), "JPEGImages/c.png": ""}
    result = source(tmp_path, document(thing()), **files)
    assert result.faults["z"].startswith("Annotations/z.xml, line 3: there is no file z.png")
    assert result.table.unread == {"c"}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, {"a.xml": document(thing())})
    files: dict[str, str | bytes] = {
        "a.png": "", "b.png": "", "b.xml": document(filename="b.png")
    }  # fmt: skip
    folder = fill(tmp_path / "set", files)
    (folder / "a.xml").symlink_to(tmp_path / "a.xml")
    result = read_source(folder)
    assert list(result.faults) == ["a"]
    assert "a.xml is a link out of the folder" in result.faults["a"]


def test_other_xml_is_no_pascal_voc(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": "", "a.xml": "<annotations><image/></annotations>"})
    with pytest.raises(DataError, match="no table of the layout voc"):
        read_source(tmp_path, layout="voc")
    with pytest.raises(DataError, match="CVAT's own is not"):
        read_source(tmp_path)
