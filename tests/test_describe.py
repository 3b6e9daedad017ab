"""A description counts by hand, survives poor tables, and its JSON and figures are whole."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrssl.cli import commands
from cxrssl.core.errors import DataError
from cxrssl.describe import describe

HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
IDS = {"Aortic enlargement": 0, "Cardiomegaly": 3, "Pneumothorax": 12, "No finding": 14}


def row(image: str, name: str, reader: str, box: tuple[int, ...] | None = (0, 0, 10, 10)) -> str:
    corners = ",,," if box is None else ",".join(map(str, box))
    return f"{image},{name},{IDS[name]},{reader},{corners}"


def nothing(image: str, reader: str) -> str:
    return row(image, "No finding", reader, None)


def table(folder: Path, *rows: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def ten_images(folder: Path) -> Path:
    """Ten images with findings, in order a..j: seven to train, one to validate, two to test."""
    rows = [row(name, "Cardiomegaly", "R1") for name in "abcdefgh"]
    rows += [row("a", "Pneumothorax", "R1"), nothing("k", "R2"), nothing("k", "R1")]
    # Test image i: R1 and R2 agree on one box, R2 sees one more. In j, R2 finds nothing.
    rows += [row("i", "Cardiomegaly", "R1"), row("i", "Cardiomegaly", "R2", (1, 0, 11, 10))]
    rows += [row("i", "Aortic enlargement", "R2"), row("j", "Cardiomegaly", "R1")]
    return table(folder, *rows, nothing("j", "R2"))


def test_images_boxes_and_splits_are_counted(tmp_path: Path) -> None:
    content = describe(ten_images(tmp_path), protocol="published")
    assert (content["images"], content["images_with_findings"], content["boxes"]) == (11, 10, 13)
    assert content["readers"] == 2
    assert content["images_per_reader"] == {"R1": 11, "R2": 3}
    assert content["split"] == {"train": 7, "val": 1, "test": 2}
    assert content["fused_boxes"] == 12
    assert content["support"] == {"1": 11, "2": 1, "3": 0}
    assert content["notes"][0].startswith("balance: no training image holds Aortic enlargement, ")


def test_repeat_factors_are_rounded_up_as_published_and_expected_otherwise(tmp_path: Path) -> None:
    path = ten_images(tmp_path)
    # A pneumothorax in one of seven training images: sqrt(0.4 * 7) = 1.673 visits.
    content = describe(path, protocol="published")
    assert content["oversampled_images_per_class"]["Pneumothorax"] == 2
    assert content["oversampled_images_per_class"]["Cardiomegaly"] == 8
    assert (content["oversampled_epoch"], content["oversampled_epoch_expected"]) == (8, 7.7)
    other = describe(path, protocol="described")
    assert other["oversampled_epoch"] == other["oversampled_epoch_expected"]
    assert isinstance(other["oversampled_epoch"], float)


def test_readers_are_compared_on_the_test_images_that_both_read(tmp_path: Path) -> None:
    every, near = describe(ten_images(tmp_path), protocol="published")["inter_reader"]
    assert (every["a"], every["b"], every["images"]) == ("R1", "R2", 2)
    assert (every["thresholded"], near["thresholded"]) == (False, True)
    # One pair of boxes, 90/110 of them shared; R1 drew two boxes there, R2 two.
    assert every["n"] == near["n"] == 1
    assert every["iou_mean"] == pytest.approx(90 / 110)
    assert every["f1_at_0.4"] == near["f1_at_0.5"] == pytest.approx(2 / 4)


def test_an_image_that_one_reader_never_saw_does_not_count_against_the_other(
    tmp_path: Path,
) -> None:
    rows = [row(name, "Cardiomegaly", reader) for name in "abcdefghi" for reader in ("R1", "R2")]
    path = table(tmp_path, *rows, row("j", "Cardiomegaly", "R1"), nothing("j", "R3"))
    entries = describe(path, protocol="published")["inter_reader"]
    assert [(e["a"], e["b"], e["images"]) for e in entries[::2]] == [
        ("R1", "R2", 1),
        ("R1", "R3", 1),
    ]
    assert [e["f1_at_0.5"] for e in entries[::2]] == [1.0, 0.0]


def test_the_three_pairs_with_most_images_in_common_are_compared(tmp_path: Path) -> None:
    rows = [row(name, "Cardiomegaly", f"R{n}") for name in "abcdefghij" for n in (8, 9, 10)]
    rows += [row("j", "Cardiomegaly", "R1")]
    entries = describe(table(tmp_path, *rows), protocol="published")["inter_reader"]
    pairs = [(e["a"], e["b"]) for e in entries[::2]]
    assert pairs == [("R8", "R9"), ("R8", "R10"), ("R9", "R10")]


def test_drift_compares_boxes_and_classes_of_train_and_test(tmp_path: Path) -> None:
    drift = describe(ten_images(tmp_path), protocol="published")["split_drift"]
    assert drift["boxes_per_image"]["train"] == pytest.approx(8 / 7)
    assert drift["boxes_per_image"]["test"] == 2.0
    aortic = drift["per_class"]["Aortic enlargement"]
    # One of nine images has it: it is in the test part in two deals of nine.
    assert (aortic["train"], aortic["test"]) == (0.0, 0.5)
    assert aortic["p_value"] == pytest.approx(2 / 9)
    assert aortic["p_holm"] == 1.0


def test_an_image_with_a_fault_is_left_out_and_listed(tmp_path: Path) -> None:
    good, bad = row("a", "Cardiomegaly", "R1"), row("b", "Cardiomegaly", "R1", (5, 5, 5, 9))
    content = describe(
        table(tmp_path, good, bad, row("b", "Pneumothorax", "R2")), protocol="published"
    )
    assert (content["images"], content["boxes"], content["readers"]) == (1, 1, 1)
    assert list(content["faults"]) == ["b"]


def test_a_table_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,class_name\na,Cardiomegaly\n")
    with pytest.raises(DataError, match="has no column"):
        describe(tmp_path / "table.csv", protocol="corrected")


def test_a_file_is_no_folder_for_figures(tmp_path: Path) -> None:
    path = ten_images(tmp_path)
    with pytest.raises(DataError, match=r"table\.csv is a file; --out needs a folder"):
        describe(path, protocol="corrected", out=path)


POOR = {
    "no image has a finding": [nothing("a", "R1"), nothing("a", "R2")],
    "one image": [row("a", "Cardiomegaly", "R1"), row("a", "Cardiomegaly", "R2")],
    "one reader": [row(name, "Cardiomegaly", "R1") for name in "abcdefghijkl"],
    "no usable image": [row("a", "Cardiomegaly", "R1", (5, 5, 5, 9))],
    "an empty test split": [row(name, "Cardiomegaly", "R1") for name in ("a", "b")],
    "readers who share no class": [
        row(name, ("Cardiomegaly", "Pneumothorax")[reader], f"R{reader}")
        for name in "abcdefghijkl"
        for reader in range(2)
    ],
}


@pytest.mark.parametrize("rows", POOR.values(), ids=POOR.keys())
def test_a_poor_table_is_described_as_far_as_it_goes(tmp_path: Path, rows: list[str]) -> None:
    path, out = table(tmp_path, *rows), tmp_path / "out"
    arguments = ["describe", str(path), "--out", str(out)]
    shown = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "nan" not in shown.stdout.lower()
    assert "no figure 1" in shown.stderr
    json.loads((out / "describe.json").read_text(), parse_constant=pytest.fail)
    for protocol in ("published", "described"):
        arguments = ["describe", str(path), "--protocol", protocol, "--json"]
        printed = CliRunner().invoke(commands.app, arguments, catch_exceptions=False).stdout
        assert json.loads(printed, parse_constant=pytest.fail)["notes"]


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("no image has a finding", "balance: the training split is empty"),
        ("one reader", "inter_reader: no image of the test split was read by two readers"),
        ("one image", "split_drift: 0 training and 1 test images; a comparison needs some of each"),
    ],
)
def test_what_cannot_be_computed_is_explained(tmp_path: Path, case: str, note: str) -> None:
    content = describe(table(tmp_path, *POOR[case]), protocol="published")
    assert note in content["notes"]


def test_readers_without_a_common_class_have_no_overlap_and_no_match(tmp_path: Path) -> None:
    path = table(tmp_path, *POOR["readers who share no class"])
    for entry in describe(path, protocol="published")["inter_reader"]:
        assert (entry["iou_mean"], entry["iou_std"], entry["n"]) == (None, None, 0)
        assert entry["f1_at_0.4"] == 0.0


def test_json_is_all_that_stands_on_stdout_and_equals_the_file(tmp_path: Path) -> None:
    path, out = ten_images(tmp_path), tmp_path / "out"
    done = CliRunner().invoke(commands.app, ["describe", str(path), "--json", "--out", str(out)])
    assert json.loads(done.stdout) == json.loads((out / "describe.json").read_text())
    assert "describe.json" in done.stderr


def test_the_summary_names_counts_classes_and_readers(tmp_path: Path) -> None:
    arguments = ["describe", str(ten_images(tmp_path)), "--protocol", "published"]
    shown = CliRunner().invoke(commands.app, arguments).stdout
    for text in ("11, 10 with findings", "13 by 2 readers", "train 7, val 1, test 2", "R1 - R2"):
        assert text in shown
    assert re.search(r"Pneumothorax +│ +1 │ +2 │", shown)


def described(folder: Path, out: Path) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    content = describe(folder / "train.csv", protocol="corrected", out=out, say=lines.append)
    return content, lines


@pytest.mark.slow
def test_figures_are_drawn_where_images_lie_beside_the_table(source: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _, lines = described(source, one)
    assert not any(line.startswith("no figure") for line in lines)
    names = {path.name for path in one.iterdir()}
    figures = {
        f"figure{n}.{end}" for n in ("1_fusion", "3_class_balance") for end in ("png", "svg")
    }
    assert names == {"describe.json", *figures}
    text = (one / "figure1_fusion.svg").read_text()
    assert ">R9<" in text
    assert ">2 readers<" in text
    described(source, two)
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_a_broken_image_is_left_out_of_the_figure_and_named(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    files = list((copy / "train").iterdir())
    for file in files:
        file.write_bytes(b"no image")
    _, lines = described(copy, tmp_path / "out")
    left_out = [line for line in lines if line.startswith("left out of figure 1: ")]
    assert left_out
    assert any(line.startswith("no figure 1: ") for line in lines)
    assert not (tmp_path / "out" / "figure1_fusion.png").exists()


def test_a_png_serves_as_well_and_a_crowded_image_is_passed_over(tmp_path: Path) -> None:
    pair = [row("a", "Cardiomegaly", f"R{n}", (10, 10, 50, 40 + n)) for n in (1, 2)]
    crowd = [row("b", "Cardiomegaly", "R1", (n, 0, n + 4, 9)) for n in range(0, 90, 5)]
    crowd += [row("b", "Cardiomegaly", "R2", (n, 1, n + 4, 9)) for n in range(0, 90, 5)]
    path, out = table(tmp_path, *pair, *crowd), tmp_path / "out"
    (tmp_path / "train").mkdir()
    lines: list[str] = []
    for name in "ba":
        Image.new("L", (100, 50)).save(tmp_path / "train" / f"{name}.png")
        lines.clear()
        describe(path, protocol="corrected", out=out, say=lines.append)
        assert (out / "figure1_fusion.png").exists() == (name == "a")
    assert (out / "figure1_fusion.svg").read_text().count(">1 Cardiomegaly, 2 readers<") == 1


def test_figure_1_goes_by_the_size_that_the_table_states(tmp_path: Path) -> None:
    lines = [row("a", "Cardiomegaly", f"R{n}", (20, 20, 100, 80 + n)) for n in (1, 2)]
    lines += ["a,Pneumonia,99,R1,1,2,3,4"]
    (tmp_path / "train").mkdir()
    Image.new("L", (100, 50)).save(tmp_path / "train" / "a.png")
    for size, is_drawn in (("200,100", True), ("50,100", False)):
        path, out, said = tmp_path / "table.csv", tmp_path / f"out-{is_drawn}", []
        sized = [f"{line},{size}" for line in lines]
        path.write_text("\n".join([f"{HEADER},width,height", *sized]) + "\n")
        content = describe(path, protocol="corrected", out=out, say=said.append)
        assert (out / "figure1_fusion.png").exists() == is_drawn
        assert any("50x100 pixels for it and the file has 100x50" in s for s in said) != is_drawn
        assert "1 row(s) have a class that is not one of VinDr-CXR's" in content["notes"][0]


def test_an_image_with_too_many_boxes_of_a_class_is_left_out_and_listed(tmp_path: Path) -> None:
    path = ten_images(tmp_path)
    lines = path.read_text().splitlines()[1:]
    crowd = [row("z", "Cardiomegaly", "R9", (n, n, n + 5, n + 5)) for n in range(1001)]
    content = describe(table(tmp_path, *lines, *crowd), protocol="corrected")
    assert content["faults"] == {
        "z": "1,001 boxes of Cardiomegaly; at most 1,000 of one class are fused"
    }
    assert content["boxes"] == 13
    content = describe(table(tmp_path, *lines, *crowd[901:]), protocol="corrected")
    assert (content["faults"], content["boxes"]) == ({}, 113)


@pytest.mark.parametrize("ending", ["gz", "zip", "bz2", "xz"])
def test_a_broken_archive_is_no_table(tmp_path: Path, ending: str) -> None:
    whole = ten_images(tmp_path)
    path = tmp_path / f"train.csv.{ending}"
    pd.read_csv(whole).to_csv(path, index=False)
    content = path.read_bytes()
    half = len(content) // 2
    for broken in (content[:half], content[:half] + b"\0" * 9 + content[half + 9 :], b"", b"csv"):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"train\.csv\..* is not a table|has no column"):
            describe(path, protocol="corrected")


def test_names_of_a_table_can_not_command_the_terminal(tmp_path: Path) -> None:
    rows = [row(name, "Cardiomegaly", "R\x1b]0;pwn\x07") for name in "abcdefghij"]
    done = CliRunner().invoke(commands.app, ["describe", str(table(tmp_path, *rows))])
    assert done.exit_code == 0, done.output
    assert not set("\x1b\x07") & set(done.output)
    assert "pwn" in done.output
