"""The made data set: the same bytes every time, in Kaggle's layout, in many DICOM forms."""

import csv
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom import PhantomSummary, make_phantom
from cxrssl.data.phantom.dataset import in_table_order, table_rows
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image
from cxrssl.data.phantom.storage import choose_form, stored_pixels

NUM_IMAGES = 24
MIN_SIDE_PX, MAX_SIDE_PX = 300, 400


def make(
    out: Path, *, num_images: int = NUM_IMAGES, seed: int = 5, workers: int = 1
) -> PhantomSummary:
    """Make a small phantom."""
    return make_phantom(
        out,
        num_images=num_images,
        seed=seed,
        num_workers=workers,
        min_side_px=MIN_SIDE_PX,
        max_side_px=MAX_SIDE_PX,
    )


def rows_of(out: Path) -> list[dict[str, str]]:
    """Return the rows of a phantom's table."""
    with (out / "train.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(out: Path) -> dict[str, bytes]:
    """Return every file's content by its path in the data set."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "set"
    make(out)
    return out


def test_same_seed_gives_the_same_bytes(phantom: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    assert bytes_of(tmp_path / "again") == bytes_of(phantom)


@pytest.mark.slow
def test_two_workers_give_the_same_bytes_as_one(phantom: Path, tmp_path: Path) -> None:
    make(tmp_path / "two", workers=2)
    assert bytes_of(tmp_path / "two") == bytes_of(phantom)


def test_an_interruption_while_the_pool_is_filled_leaves_the_rest_unmade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ProcessPoolExecutor.submit
    submitted: list[Future[object]] = []

    def interrupted(
        pool: ProcessPoolExecutor, make: Callable[..., object], *images: object
    ) -> Future[object]:
        if len(submitted) == 50:
            raise KeyboardInterrupt
        submitted.append(submit(pool, make, *images))
        return submitted[-1]

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_phantom(
            tmp_path / "made",
            num_images=400,
            seed=0,
            normal_share=0.2,
            min_side_px=128,
            max_side_px=140,
            num_workers=2,
        )
    assert len(list((tmp_path / "made").rglob("*.dicom"))) < 100  # of 200 that were handed out


def test_another_seed_gives_other_images(phantom: Path, tmp_path: Path) -> None:
    make(tmp_path / "other", num_images=4, seed=6)
    assert not set(bytes_of(tmp_path / "other")) & set(bytes_of(phantom)) - {
        "train.csv",
        "phantom.json",
    }


def test_a_longer_data_set_starts_with_the_shorter_one(phantom: Path, tmp_path: Path) -> None:
    make(tmp_path / "short", num_images=5)
    longer = bytes_of(phantom)
    short = bytes_of(tmp_path / "short")
    images = {name: content for name, content in short.items() if name.startswith("train/")}
    assert len(images) == 5
    assert all(longer[name] == content for name, content in images.items())
    # More images come in between; those there were keep their order.
    rows = longer["train.csv"].splitlines()
    short_rows = set(short["train.csv"].splitlines())
    assert [row for row in rows if row in short_rows] == short["train.csv"].splitlines()


def test_images_with_many_boxes_come_first_as_in_the_real_table() -> None:
    settings = PhantomSettings(seed=4, normal_share=0.0, min_side_px=300, max_side_px=400)
    rows = [row for index in range(400) for row in table_rows(plan_image(settings, index))]
    table = in_table_order(rows, seed=4)
    boxes = Counter(row[0] for row in table)
    sizes = [boxes[name] for name in dict.fromkeys(row[0] for row in table)]
    first, last = np.mean(sizes[:280]), np.mean(sizes[320:])
    # VinDr-CXR's have 9.2 and 5.5 consensus boxes.
    assert 1.2 < first / last < 2.5
    assert sorted(table) == sorted(rows)


def test_the_layout_is_that_of_kaggle(phantom: Path) -> None:
    assert sorted(path.name for path in phantom.iterdir()) == ["phantom.json", "train", "train.csv"]
    header = (phantom / "train.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    files = {path.stem for path in (phantom / "train").glob("*.dicom")}
    assert len(files) == NUM_IMAGES
    assert len(list((phantom / "train").iterdir())) == NUM_IMAGES
    assert files == {row["image_id"] for row in rows_of(phantom)}


def test_every_image_has_three_readers(phantom: Path) -> None:
    readers = defaultdict(set)
    for row in rows_of(phantom):
        readers[row["image_id"]].add(row["rad_id"])
    assert {len(names) for names in readers.values()} == {3}


def test_a_reader_without_a_box_has_one_empty_row(phantom: Path) -> None:
    by_reader = defaultdict(list)
    for row in rows_of(phantom):
        by_reader[row["image_id"], row["rad_id"]].append(row)
    empty = [rows for rows in by_reader.values() if rows[0]["class_name"] == "No finding"]
    assert empty
    for rows in by_reader.values():
        names = {row["class_name"] for row in rows}
        assert "No finding" not in names or len(rows) == 1
    for (row,) in empty:
        assert row["class_id"] == "14"
        assert [row[side] for side in ("x_min", "y_min", "x_max", "y_max")] == [""] * 4


def test_boxes_lie_inside_the_written_image(phantom: Path) -> None:
    sizes = {}
    for path in (phantom / "train").iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        sizes[path.stem] = (header.Columns, header.Rows)
    for row in rows_of(phantom):
        if row["class_name"] == "No finding":
            continue
        assert row["class_id"] == str(FINDINGS.index(row["class_name"]))
        width, height = sizes[row["image_id"]]
        assert 0 <= int(row["x_min"]) < int(row["x_max"]) <= width
        assert 0 <= int(row["y_min"]) < int(row["y_max"]) <= height


def test_the_summary_counts_what_was_written(phantom: Path) -> None:
    content = json.loads((phantom / "phantom.json").read_text(encoding="utf-8"))
    counts = Counter(row["class_name"] for row in rows_of(phantom))
    del counts["No finding"]
    assert content["settings"]["seed"] == 5
    assert content["counts"]["num_images"] == NUM_IMAGES
    assert content["counts"]["num_boxes"] == counts.total()
    assert content["counts"]["boxes_by_class"] == {name: counts[name] for name in FINDINGS}


def test_twenty_images_hold_every_dicom_form(phantom: Path) -> None:
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in (phantom / "train").iterdir()]
    assert len({h.file_meta.TransferSyntaxUID for h in headers}) == 4
    assert {h.PhotometricInterpretation for h in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert {h.BitsStored for h in headers} == {8, 12, 14, 16}
    assert {"WindowCenter" in h for h in headers} == {True, False}
    assert any("RescaleSlope" in h for h in headers)
    assert {h.Modality for h in headers} == {"DX", "CR"}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_four_aligned_images_use_each_syntax_and_depth_once(seed: int) -> None:
    for start in (0, 4, 40):
        forms = [choose_form(seed, index) for index in range(start, start + 4)]
        assert len({form.syntax for form in forms}) == 4
        assert len({form.bits_stored for form in forms}) == 4
        assert sum(form.inverted for form in forms) == 2
        assert sum(form.window is not None for form in forms) == 2


def test_decoding_gives_what_was_painted(phantom: Path) -> None:
    settings = PhantomSettings(5, min_side_px=MIN_SIDE_PX, max_side_px=MAX_SIDE_PX)
    for index in range(4):
        plan = plan_image(settings, index)
        dataset = pydicom.dcmread(phantom / "train" / f"{plan.image_id}.dicom")
        pixels, _ = stored_pixels(paint_image(plan, 5), choose_form(5, index))
        np.testing.assert_array_equal(dataset.pixel_array, pixels)


def test_bone_is_bright_and_background_dark_once_inversion_is_undone(phantom: Path) -> None:
    for path in (phantom / "train").iterdir():
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(float) / (2**dataset.BitsStored - 1)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            pixels = 1 - pixels
        height, width = pixels.shape
        spine = pixels[height // 2, int(0.47 * width) : int(0.55 * width)].mean()
        corner = pixels[: height // 60 + 1, : width // 10].mean()
        assert spine > corner + 0.3


def test_a_window_covers_the_content(phantom: Path) -> None:
    for path in (phantom / "train").iterdir():
        dataset = pydicom.dcmread(path)
        if "WindowCenter" not in dataset:
            continue
        slope, start = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        values = dataset.pixel_array * float(slope) + float(start)
        half = float(dataset.WindowWidth) / 2
        inside = np.abs(values - float(dataset.WindowCenter)) <= half + 1
        assert inside.mean() > 0.97


def test_progress_is_told_once_an_image(tmp_path: Path) -> None:
    calls: list[int] = []
    make_phantom(
        tmp_path / "a",
        num_images=3,
        seed=1,
        on_image=lambda: calls.append(1),
        min_side_px=300,
        max_side_px=400,
    )
    assert len(calls) == 3


@pytest.mark.slow
def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    arguments = ["phantom", str(tmp_path / "made"), "--images", "500", "--workers", "2"]
    command = subprocess.Popen([sys.executable, "-m", "cxrssl", *arguments])
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("made/train/*"))) < 2:
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert len(workers) >= 2
    assert alive == []


def test_a_folder_that_is_not_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"is not empty; .*Choose another folder"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert make(tmp_path, num_images=1).num_images == 1


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="is a file; expected a folder"):
        make(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_images", 0, "num_images is 0; expected at least 1"),
        ("seed", -1, "seed is -1; expected 0 or more"),
        ("normal_share", 1.5, "normal_share is 1.5; expected a fraction from 0 to 1"),
        ("min_side_px", 64, "min_side_px is 64; expected at least 128"),
        ("max_side_px", 700, "max_side_px is 700; expected at least min_side_px, 800"),
        ("num_workers", 0, "num_workers is 0; expected at least 1"),
    ],
)
def test_a_number_out_of_range_is_an_error(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    numbers: dict[str, Any] = {"num_images": 1, "seed": 1, name: value}
    with pytest.raises(DataError, match=message):
        make_phantom(tmp_path / "out", **numbers)
    assert not (tmp_path / "out").exists()
