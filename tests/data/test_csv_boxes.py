"""Boxes of CSV files, whatever their columns are called; pandas is the judge of the values."""

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source
from dicom_files import dicom_file

BOXES = "image,label,xmin,ymin,xmax,ymax\na.png,mass,1,2,11,12\nb.png,node,3,4,8,9\n"
BOX_COLUMNS = ["x_min", "y_min", "x_max", "y_max"]


def source(folder: Path, tables: dict[str, str], images: tuple[str, ...] = ("a", "b")) -> Source:
    for name in images:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 20), 9).save(folder / "images" / f"{name}.png")
    for name, text in tables.items():
        (folder / name).write_text(text, encoding="utf-8")
    return read_source(folder)


def boxes(result: Source) -> list[tuple[str, str, tuple[float, ...]]]:
    rows = result.table.rows.dropna()
    corners = rows[BOX_COLUMNS].to_numpy().round(9)
    return [
        (name, label, tuple(box.tolist()))
        for name, label, box in zip(rows["image_id"], rows["category"], corners, strict=True)
    ]


EXPECTED = [("a", "mass", (1.0, 2.0, 11.0, 12.0)), ("b", "node", (3.0, 4.0, 8.0, 9.0))]


@pytest.mark.parametrize(
    "text",
    [
        BOXES,
        "﻿" + BOXES,
        BOXES.replace(",", ";").replace("11", "11,0"),
        BOXES.replace(",", "\t").replace("\n", "\r\n"),
        "sep=;\n" + BOXES.replace(",", ";"),
        BOXES.replace("\n", ",0\n").replace("ymax,0", "ymax,split"),
        BOXES.replace("\n", ",frontal\n").replace("ymax,frontal", "ymax,kind"),
        "File Name,Class Name,X1,Y1,X2,Y2\nimages/a.png,mass,1,2,11,12\n"
        "images\\b.png,node,3,4,8,9\n",
        "image_id,category,x,y,width,height\na,mass,1,2,10,10\nb,node,3,4,5,5\n",
        "img,finding,left,top,w,h,width,height\na.png,mass,1,2,10,10,40,20\nb.png,node,3,4,5,5,40,20\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,20,mass,1,2,11,12\n"
        "b.png,40,20,node,3,4,8,9\n",
        "path,pathology,x_center,y_center,w,h\n/data/x/a.png,mass,6,7,10,10\nb.png,node,5.5,6.5,5,5\n",
        'image,label,xmin,ymin,xmax,ymax,note\na.dcm,"mass",1,2,11,12,"so, so"\nb,node,3,4,8,9,\n',
    ],
)  # fmt: skip
def test_boxes_are_the_same_however_the_columns_are_called(text: str, tmp_path: Path) -> None:
    result = source(tmp_path, {"boxes.csv": text})
    assert result.layout == "csv"
    assert boxes(result) == EXPECTED
    assert result.table.classes == ("mass", "node")
    assert not result.faults
    assert result.table.unit == "px"


def test_fractions_are_known_by_their_values(tmp_path: Path) -> None:
    text = "image,label,x1,y1,x2,y2\na,mass,0.025,0.1,0.275,0.6\nb,node,0,0,1,1\n"
    result = source(tmp_path, {"boxes.csv": text})
    assert result.table.unit == "fraction"
    assert boxes(result)[0][2] == (0.025, 0.1, 0.275, 0.6)
    assert any("read as fractions of width and height" in note for note in result.notes)


@pytest.mark.parametrize(
    ("text", "image", "parts"),
    [
        (BOXES + "a.png,mass,0.1,0.1,0.5,0.5\n", "a",
         ["boxes.csv, line 4", "fractions of the image", "(0.1, 0.1, 0.5, 0.5)"]),
        ("image,label,x1,y1,x2,y2\na,mass,.1,.1,.5,.5\na,mass,.2,.1,.5,.5\nb,mass,1,2,11,12\n", "b",
         ["boxes.csv, line 4", "seems to be in pixels"]),
        (BOXES + "a.png,mass,5,5,5,9\n", "a", ["boxes.csv, line 4", "without an area"]),
        (BOXES + "a.png,mass,5,x,6,9\n", "a", ["boxes.csv, line 4", "no whole box"]),
        (BOXES + "a.png,mass,5,,6,9\n", "a", ["boxes.csv, line 4", "no whole box"]),
        (BOXES + "a.png,No finding,,,,\n", "a",
         ["boxes.csv, line 2 and boxes.csv, line 4 contradict", "R0"]),
        (BOXES + "c.png,mass,1,2,3,4\n", "c", ["there is no file c.png"]),
        (BOXES.replace("image,", "patient,image,").replace("a.png", "p1,a.png")
         .replace("b.png", "p2,b.png") + "p2,a.png,mass,1,2,3,4\n", "a",
         ["boxes.csv, line 2 and boxes.csv, line 4", "two values of patient"]),
        ("image,label,xmin,ymin,xmax,ymax,image_width,image_height\na.png,mass,1,2,11,12,40,20\n"
         "a.png,mass,1,2,9,12,80,40\nb.png,mass,1,2,9,9,40,20\n", "a", ["two values of size"]),
        ("image,label,xmin,ymin,xmax,ymax,split\na.png,mass,1,2,11,12,train\na.png,mass,1,2,9,9,test\n"
         "b.png,mass,1,2,9,9,train\n", "a", ["two values of split"]),
    ],
)  # fmt: skip
def test_a_bad_row_is_a_fault_of_its_image_that_names_the_row(
    text: str, image: str, parts: list[str], tmp_path: Path
) -> None:
    result = source(tmp_path, {"boxes.csv": text})
    assert list(result.faults) == [image]
    assert all(part in result.faults[image] for part in parts), result.faults[image]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label,xmin,ymin,xmax,ymax,XMIN\na,m,1,2,3,4,5\n", "line 1: the column 'XMIN'"),
        ("image,label,xmin,x1,ymin,xmax,ymax\na,m,1,1,2,3,4\n", "'xmin' and 'x1' both seem"),
        ("image,label,reader,rad_id,xmin,ymin,xmax,ymax\na,m,1,1,1,2,3,4\n", "both seem to"),
        ("image,label,xmin,ymin,xmax,ymax\na,m,1,2,3\n", "boxes.csv, line 2: it has 5 cells"),
        ("image,label,xmin,ymin,xmax,ymax\n,m,1,2,3,4\n", "line 2: the column image is empty"),
        ("image,label,xmin,ymin,xmax,ymax\na,,1,2,3,4\n", "line 2: the box has no class"),
        ("image,label,xmin,ymin,xmax,ymax\n", "a header and no rows"),
        ('image,label,xmin,ymin,xmax,ymax\na,"m,1,2,3,4\n', "can't be read"),
        ("image,label,xmin,ymin,xmax,ymax,split\na,m,1,2,3,4,trian\nb,m,1,2,3,4,test\n",
         "line 2: the split is 'trian'; exp"),
        ("image,label,xmin,ymin,xmax,ymax,kind\na,m,1,2,3,4,odd\nb,m,1,2,3,4,normal\n",
         "kind of image is 'odd'"),
        ("sep=;\nimage;label;xmin;ymin;xmax;ymax\na;m;1;2;3\n", "boxes.csv, line 3: it has 5"),
    ],
)  # fmt: skip
def test_a_table_that_can_not_be_meant_is_an_error_with_its_row(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        source(tmp_path, {"boxes.csv": text})


def test_a_row_without_a_box_is_a_reading(tmp_path: Path) -> None:
    text = (
        "image,label,xmin,ymin,xmax,ymax,radiologist\n"
        "a.png,mass,1,2,11,12,R1\na.png,,,,,,R2\nb.png,No Finding,,,,,R1\n"
        "c.png,scoliosis,,,,,R1\nd.png,Mass,,,,,R1\n"
    )
    result = source(tmp_path, {"boxes.csv": text}, ("a", "b", "c", "d", "e"))
    rows = result.table.rows
    assert rows.loc[rows["image_id"].eq("a"), "reader"].tolist() == ["R1", "R2"]
    assert result.table.kinds == {"a": "normal", "b": "normal", "c": "other finding"}
    assert result.table.classes == ("mass",)
    assert set(result.table.unmarked) == {"d"}, "its mass has no box: no negative, no positive"
    assert result.table.unread == {"e"}
    assert any(note.startswith("1 image(s) have no row") for note in result.notes)


def test_tables_of_one_image_need_readers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one\.csv, line 2 and two\.csv, line 2 are of one image"):
        source(tmp_path, {"one.csv": BOXES, "two.csv": BOXES})
    header, rows = BOXES.split("\n", 1)
    tables = {
        f"{reader}.csv": f"{header},reader\n"
        + rows.replace("2\n", f"2,{reader}\n").replace("9\n", f"9,{reader}\n")
        for reader in ("anna", "ben")
    }
    result = source(tmp_path / "both", tables)
    assert result.table.rows["reader"].tolist() == ["anna", "anna", "ben", "ben"]


def test_values_are_those_that_pandas_reads(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    names = [f"f{number}" for number in range(20)]
    corners = generator.uniform(0, 15, (200, 4)).round(3)
    corners[:, 2:] = corners[:, :2] + corners[:, 2:] / 4 + 0.1
    frame = pd.DataFrame(corners, columns=BOX_COLUMNS)
    frame.insert(0, "file", generator.choice(names, 200))
    frame["finding"] = generator.choice(["x, y", 'q"q', "ü"], 200)
    images = tuple(names)
    (tmp_path / "images").mkdir()
    for name in images:
        Image.new("L", (40, 20), 9).save(tmp_path / "images" / f"{name}.png")
    with gzip.open(tmp_path / "t.csv.gz", "wt", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, quoting=csv.QUOTE_MINIMAL)
    rows = read_source(tmp_path).table.rows
    expected = pd.read_csv(tmp_path / "t.csv.gz")
    assert rows["image_id"].tolist() == expected["file"].tolist()
    assert rows["category"].tolist() == expected["finding"].tolist()
    np.testing.assert_array_equal(rows[BOX_COLUMNS], expected[BOX_COLUMNS])


def test_prose_that_repeats_a_word_between_commas_is_no_table(tmp_path: Path) -> None:
    report = "normal, normal, no image of x, x\nmore prose, and more\n"
    result = source(tmp_path, {"boxes.csv": BOXES, "report.txt": report})
    assert boxes(result) == EXPECTED


def test_own_classes_in_kaggle_s_form_are_not_vindr_s(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    header = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
    rows = "a,Lung right,0,R1,1,2,11,12\nb,No finding,14,R1,,,,\n"
    for name in ("a", "b"):
        Image.new("L", (40, 20), 9).save(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train.csv").write_text(header + rows)
    result = read_source(tmp_path)
    assert (result.layout, result.table.classes) == ("csv", ("Lung right",))
    (tmp_path / "train.csv").write_text(header + rows.replace("Lung right,0", "ILD,5"))
    assert read_source(tmp_path).layout == "kaggle"


def test_excel_s_utf_16_is_read_and_other_encodings_are_an_error(tmp_path: Path) -> None:
    source(tmp_path, {"readme.txt": ""})
    (tmp_path / "boxes.csv").write_bytes(BOXES.encode("utf-16"))
    assert boxes(read_source(tmp_path)) == EXPECTED
    (tmp_path / "boxes.csv").write_bytes(BOXES.replace("mass", "größe").encode("cp1252"))
    with pytest.raises(DataError, match=r"boxes\.csv can't be read: .* Save it as CSV in UTF-8"):
        read_source(tmp_path)


def test_a_table_of_patients_that_is_not_read_is_said(tmp_path: Path) -> None:
    clinical = "image,age,Patient ID\na,70,x\nb,71,x\n"
    result = source(tmp_path, {"boxes.csv": BOXES, "clinical.csv": clinical})
    assert any(note.startswith("clinical.csv names patients, and is not") for note in result.notes)


@pytest.mark.parametrize("suffix", ["png", "dcm"])
def test_percent_are_known_by_the_size_of_the_images(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        "file,label,x,y,w,h\na,mass,10,20,50,30\nb,node,0,0,100,100\n"
    )
    for name in ("a", "b"):
        pixels = np.zeros((420, 600), np.uint16)
        if suffix == "png":
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
        else:
            dicom_file(tmp_path / f"{name}.dcm", pixels)
    result = read_source(tmp_path)
    assert boxes(result)[0][2] == (0.1, 0.2, 0.6, 0.5)
    assert result.table.unit == "fraction"
    assert any("percent" in note for note in result.notes)


def large(folder: Path, tables: dict[str, str], *, small: tuple[str, ...] = ()) -> Source:
    for name in ("a", "b", "c", *small):
        Image.new("L", (64, 64) if name in small else (800, 600)).save(folder / f"{name}.png")
    for name, text in tables.items():
        (folder / name).write_text(text)
    return read_source(folder)


HEAD, PERCENT = "file,label,x,y,w,h\n", "a,mass,10,20,50,30\nb,mass,5,5,60,40\n"


def test_other_pictures_and_one_small_film_do_not_turn_percent_into_pixels(tmp_path: Path) -> None:
    result = large(tmp_path, {"x.csv": f"{HEAD}{PERCENT}c,mass,1,2,9,9\n"}, small=("c", "logo"))
    assert result.table.unit == "fraction"


@pytest.mark.parametrize(
    ("word", "unit"), [("px", "px"), ("Percent", "fraction"), ("ICU", "fraction")]
)
def test_a_column_may_say_the_unit(word: str, unit: str, tmp_path: Path) -> None:
    text = f"{HEAD}{PERCENT}".replace("\n", f",{word}\n").replace(f"h,{word}", "h,unit")
    result = large(tmp_path, {"x.csv": text})
    assert result.table.unit == unit
    assert any("as percent" in note for note in result.notes) is (word == "ICU")


@pytest.mark.parametrize("copy", ["masks/a.png", "thumbs/a.png", "thumbs/b.png"])
def test_a_small_copy_of_a_film_does_not_decide_the_unit(copy: str, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / copy).parent.mkdir()
    Image.new("L", (128, 96)).save(tmp_path / copy)
    for name in ("a", "b"):
        Image.new("L", (800, 600)).save(tmp_path / "films" / f"{name}.png")
    rows = PERCENT.replace("a,", "films/a.png,").replace("b,", "films/b.png,")
    (tmp_path / "x.csv").write_text(f"{HEAD}{rows}")
    result = read_source(tmp_path)
    assert result.table.unit == "fraction"
    assert boxes(result)[0][2] == (0.1, 0.2, 0.6, 0.5)


def test_an_empty_column_of_units_says_nothing(tmp_path: Path) -> None:
    text = f"{HEAD}{PERCENT}".replace("\n", ",\n").replace("h,\n", "h,unit\n")
    result = large(tmp_path, {"x.csv": text})
    assert result.table.unit == "fraction"
    assert any("as percent" in note for note in result.notes)


def test_boxes_in_a_quarter_of_films_are_pixels_with_a_note(tmp_path: Path) -> None:
    Image.new("L", (256, 224)).save(tmp_path / "a.png")
    (tmp_path / "x.csv").write_text(f"{HEAD}a,mass,30,20,60,70\n")
    result = read_source(tmp_path)
    assert boxes(result) == [("a", "mass", (30.0, 20.0, 90.0, 90.0))]
    assert any("all boxes lie between 0 and 100, and are read as pixels" in n for n in result.notes)


def test_tables_in_different_units_are_refused(tmp_path: Path) -> None:
    row = "c,mass,100,200,300,300\n"
    pixels = f"{HEAD}{row}"
    with pytest.raises(DataError, match=r"boxes of x.csv seem to be in percent and those of y.csv"):
        large(tmp_path, {"x.csv": f"{HEAD}{4 * PERCENT}", "y.csv": f"{HEAD}{8 * row}"})
    text = f"{HEAD}{PERCENT}".replace("h\n", "h,unit\n").replace("30\n", "30,px\n")
    with pytest.raises(
        DataError, match=r"x.csv, line 3: the unit is 'mm'; expected px, fraction or"
    ):
        large(tmp_path, {"x.csv": text.replace("40\n", "40,mm\n"), "y.csv": pixels})
    with pytest.raises(DataError, match=r"line 2 says that its box is in px, and x.csv, line 3 in"):
        large(tmp_path, {"x.csv": text.replace("40\n", "40,%\n"), "y.csv": pixels})


def test_a_table_of_a_few_boxes_is_in_the_unit_of_all(tmp_path: Path) -> None:
    corner, row = "b,mass,5,5,60,40\n", "c,mass,100,200,300,300\n"
    result = large(tmp_path, {"b.csv": f"{HEAD}{corner}", "c.csv": f"{HEAD}{8 * row}"})
    assert (result.table.unit, result.faults) == ("px", {})
    assert any(
        "the first in b.csv, line 2: look whether they are percent" in n for n in result.notes
    )


def test_boxes_among_pixels_that_may_be_percent_are_said(tmp_path: Path) -> None:
    result = large(tmp_path, {"x.csv": f"{HEAD}c,mass,100,200,300,300\n{PERCENT}"})
    assert result.table.unit == "px"
    note = "2 box(es) lie within the first 100 pixels of large films, the first in x.csv, line 3"
    assert any(text.startswith(note) for text in result.notes)


@pytest.mark.parametrize("normal", ["No finding", "normal", "no_finding", "", "none"])
@pytest.mark.parametrize("numbers", ["0,0,0,0", "0,0,1,1"])
def test_numbers_of_normal_films_are_no_boxes(normal: str, numbers: str, tmp_path: Path) -> None:
    rows = f"b,{normal},{numbers}\nc,{normal},{numbers}\n"
    head = HEAD.replace("x,y,w,h", "x1,y1,x2,y2")
    result = large(tmp_path, {"x.csv": f"{head}a,mass,100,200,400,500\n{rows}"})
    assert (result.table.unit, result.table.classes, result.faults) == ("px", ("mass",), {})
    assert result.table.kinds == {"b": "normal", "c": "normal"}


def test_small_images_may_have_all_boxes_within_a_hundred_pixels(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("file,label,x,y,w,h\na,mass,10,20,50,30\n")
    Image.new("L", (128, 128)).save(tmp_path / "a.png")
    assert read_source(tmp_path).table.unit == "px"


@pytest.mark.parametrize(
    "text",
    [
        'image,bbox,label\na,"[1, 2, 3, 4]",mass\n',
        'filename,region_count,region_id,region_shape_attributes\na.png,1,0,"{""name"":""rect""}"\n',
    ],
)
def test_boxes_in_one_column_are_refused_with_what_to_do(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x_min, y_min, x_max and y_max|VGG Image Annotator's CSV"):
        source(tmp_path, {"boxes.csv": text})


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        (
            '{"a.png9": {"filename": "a.png", "regions": [{"shape_attributes": {"name": "rect"}, '
            '"region_attributes": {}}]}}',
            "VGG Image Annotator's",
        ),
        ('{"version": "5", "shapes": [], "imagePath": "a.png"}', "LabelMe's"),
    ],
)
def test_json_of_other_tools_is_called_by_its_name(text: str, tool: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"is {tool} JSON, and no layout reads it. Export COCO"):
        source(tmp_path, {"a.json": text})


def test_a_split_that_is_not_followed_may_have_any_words(tmp_path: Path) -> None:
    text = (
        BOXES.replace("\n", ",train\n")
        .replace("ymax,train", "ymax,split")
        .replace("9,train", "9,A")
    )
    with pytest.raises(DataError, match=r"line 3: the split is 'A'"):
        source(tmp_path, {"boxes.csv": text})
    result = read_source(tmp_path, split="none")
    assert not result.table.parts
    assert any("not used: split" in note for note in result.notes)


def test_the_names_of_tables_are_a_split_where_it_is_asked_for(tmp_path: Path) -> None:
    head, first, second, _ = BOXES.split("\n")
    tables = {"train.csv": f"{head}\n{first}\n", "my_val.csv": f"{head}\n{second}\n"}
    result = source(tmp_path, tables)
    assert any("names of a split, train (1), val (1), which is not used" in n for n in result.notes)
    assert not result.table.parts
    assert read_source(tmp_path, split="folders").table.parts == {"a": "train", "b": "test"}
    for name, text in tables.items():
        row = text.splitlines()[1].replace("b.png", "a.png")
        (tmp_path / name).write_text(f"{head},reader\n{row},{name[0]}\n")
    with pytest.raises(
        DataError, match=r"image a is in val by my_val.csv and in train by train.csv"
    ):
        read_source(tmp_path, split="folders")


@pytest.mark.parametrize("mask", ["masks/a.png", "images/a_mask.png", "leftMask/b.bmp"])
def test_masks_beside_films_are_no_films(mask: str, tmp_path: Path) -> None:
    (tmp_path / mask).parent.mkdir()
    Image.new("L", (40, 20)).save(tmp_path / mask)
    result = source(tmp_path, {"boxes.csv": BOXES.replace(".png", "")})
    assert boxes(result) == EXPECTED
    assert not result.table.unread
    assert f"1 image file(s) are passed over as masks of others, by their names: {mask}" in (
        result.notes
    )
    assert set(read_source(tmp_path, layout="images").files) == {"a", "b"}


@pytest.mark.parametrize("name", ["a_mask", "masks/a", "masks/a.png", "C:\\x\\masks\\a.png"])
def test_what_a_table_names_is_a_film_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for path in ("masks/a.png", "a_mask.png"):
        Image.new("L", (40, 20)).save(tmp_path / path)
    result = source(tmp_path, {"boxes.csv": BOXES.replace("b.png", name)})
    assert not result.faults
    file = "a_mask.png" if name == "a_mask" else "masks/a.png"
    boxed = set(result.table.rows["image_id"])
    assert {result.files[image] for image in boxed} == {tmp_path / "images/a.png", tmp_path / file}


def test_films_that_are_called_masks_are_films_where_there_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("c", "a_mask"):
        Image.new("L", (40, 20)).save(tmp_path / "masks" / f"{name}.png")
    assert set(read_source(tmp_path, layout="images").files) == {"c", "a_mask"}


@pytest.mark.parametrize("name", ["images\\a.png", "A.PNG", "a.dcm", "A", "C:\\x\\a.png"])
def test_a_file_of_a_split_names_films_as_tables_do(name: str, tmp_path: Path) -> None:
    source(tmp_path / "films", {"boxes.csv": BOXES})
    (tmp_path / "split.csv").write_text(f"image,split\n{name},test\nb,train\n")
    result = read_source(tmp_path / "films", split=str(tmp_path / "split.csv"))
    assert result.table.parts == {"a": "test", "b": "train"}
