"""`cxrssl predict`: COCO JSON, CSV and pictures of what is found, whatever is in the folder."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pydicom.data
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from cxrssl.core.errors import DataError, RunError
from cxrssl.core.printable import plain_cell
from cxrssl.data.detection import Example
from cxrssl.data.file_content import file_content
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import detect, detections_of
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings
from cxrssl.ingest.workers import read_in_worker
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import save_detector
from cxrssl.predict import predict
from cxrssl.predict.formats import coco
from cxrssl.predict.formats import csv as csv_format
from cxrssl.predict.formats.pictures import overlay_names
from cxrssl.predict.found import Finding, Found
from cxrssl.predict.inputs import files_in
from detectors import detector, rcnn
from support import DeadlyPath, ends_idle, out_of_memory, size_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Detector]:
    folder = tmp_path_factory.mktemp("detector")
    made = detector(rcnn(norm="frozen"), fit="letterbox")
    save_detector(made, folder)
    return folder, made


def test_what_is_found_in_dicom_files_is_what_eval_finds_in_their_store(
    saved: tuple[Path, Detector], source: Path, tmp_path: Path
) -> None:
    folder, made = saved
    ingest(source, tmp_path / "store", Settings(64, "letterbox"), num_workers=1)
    store = Store(tmp_path / "store")
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    examples = [
        Example(row, image.image_id, *nothing, nothing[1], *nothing, (), nothing[1])
        for row, image in enumerate(store.images[:6])
    ]
    files = [source / "train" / f"{example.image_id}.dicom" for example in examples]
    predict([folder], files, tmp_path / "out", threshold=0.5, formats=["coco"])
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    for number, (example, theirs) in enumerate(
        zip(examples, ([entry] for entry in detect(made, store, examples)), strict=True), start=1
    ):
        place = store.placement(example.row)
        ours = [entry for entry in result["annotations"] if entry["image_id"] == number]
        expected = detections_of(theirs)
        assert len(ours) == len(expected.labels) > 0
        image = result["images"][number - 1]
        for number_of_box, mine in enumerate(ours):
            assert mine["category_id"] == expected.labels[number_of_box] + 1
            assert mine["score"] == pytest.approx(expected.scores[number_of_box], abs=2e-5)
            x, y, w, h = expected.boxes[number_of_box]
            corners = [
                np.clip((x - place.x_offset_px) / place.x_scale, 0, image["width"]),
                np.clip((y - place.y_offset_px) / place.y_scale, 0, image["height"]),
                np.clip((x + w - place.x_offset_px) / place.x_scale, 0, image["width"]),
                np.clip((y + h - place.y_offset_px) / place.y_scale, 0, image["height"]),
            ]
            mx, my, mw, mh = mine["bbox"]
            assert np.allclose([mx, my, mx + mw, my + mh], corners, atol=0.15)


def test_no_score_depends_on_what_else_is_looked_at(
    saved: tuple[Path, Detector], store: Store
) -> None:
    nothing = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    examples = [
        Example(row, image.image_id, *nothing, nothing[1], *nothing, (), nothing[1])
        for row, image in enumerate(store.images[:11])
    ]
    whole = detect(saved[1], store, examples)
    alone = [detect(saved[1], store, [example])[0] for example in examples]
    shares = [detect(saved[1], store, examples[rank::2]) for rank in (0, 1)]
    for number, result in enumerate(whole):
        assert len(result["scores"])
        for other in (alone[number], shares[number % 2][number // 2]):
            for name in ("boxes", "scores", "labels"):
                assert torch.equal(result[name], other[name])  # type: ignore[literal-required]


@pytest.mark.slow
def test_lists_of_many_files_take_no_more_memory_than_those_of_few(tmp_path: Path) -> None:
    class Done:
        """Files as a record has them, one in memory at a time."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Iterator[Found]:
            for number in range(self.count):
                findings = tuple(Finding((1.0, 2.0, 3.0, 4.5), "a", n / 99) for n in range(99))
                yield Found(Path(f"{number}.png"), 9, 9, findings)

    peaks = []
    for count in (20, 400):
        tracemalloc.start()
        coco.write(tmp_path, Done(count), ["a"], source="s")
        csv_format.write(tmp_path, Done(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(json.loads((tmp_path / "predictions.json").read_text())["annotations"]) == 39_600
    assert peaks[1] < 1.2 * peaks[0]


def test_the_lists_agree_and_pycocotools_reads_them(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90), dtype=np.uint8)
    for name in ("a.png", "deeper/a.png", "deeper/b.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    summary = predict([saved[0]], [tmp_path / "in"], tmp_path / "out", threshold=0.0)
    coco = COCO(str(tmp_path / "out" / "predictions.json"))
    assert [image["file_name"] for image in coco.dataset["images"]] == [
        str(tmp_path / "in" / name) for name in ("a.png", "deeper/a.png", "deeper/b.jpg")
    ]
    assert {(image["width"], image["height"]) for image in coco.dataset["images"]} == {(90, 70)}
    annotations = coco.dataset["annotations"]
    assert len(annotations) == summary.num_findings > 0
    # Its annotations are results as COCO's tools take them.
    assert len(coco.loadRes(annotations).anns) == len(annotations)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(annotations)
    for row, entry in zip(rows, annotations, strict=True):
        x, y, w, h = entry["bbox"]
        corners = [float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max")]
        assert corners == pytest.approx([x, y, x + w, y + h], abs=0.011)
        assert (float(row["score"]), row["class"]) == (
            entry["score"], coco.cats[entry["category_id"]]["name"],
        )  # fmt: skip
    drawn = sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())
    assert drawn == ["a-2.png", "a.png", "b.png"]


@pytest.mark.slow
def test_a_bad_file_is_listed_and_stops_no_folder(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("L", (80, 60), 90).save(folder / "good.png")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:40])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("no image, and not asked for")
    no_image = pydicom.data.get_testdata_file("rtplan.dcm")
    (folder / "plan.dcm").write_bytes(Path(str(no_image)).read_bytes())
    command = [sys.executable, "-m", "cxrssl", "predict", str(saved[0]), str(folder)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "in 1 of 3 files" in done.stdout
    assert "passed over, as no images: DICOM without an image: RT Plan (1)\n" in done.stderr
    assert "files that are not read: .txt (1)\n" in done.stderr
    failures = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert {Path(name).name for name in failures} == {"cut.png", "empty.dcm"}
    assert "can't be decoded" in failures[str(folder / "cut.png")]
    result = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [Path(image["file_name"]).name for image in result["images"]] == ["good.png"]


def test_a_file_that_ends_its_decoder_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    files: list[Path] = []
    for name in ("a", "b", "bad.11", "c", "worse.9", "d"):
        path = tmp_path / name
        path.write_bytes(b"1234")
        files.append(DeadlyPath(path) if "." in name else path)
    result = list(read_in_worker(files, size_of))
    assert [path.name for path, _ in result] == ["a", "b", "bad.11", "c", "worse.9", "d"]
    assert [entry for _, entry in result if entry != 4] == [
        "its decoder ended the process, or took too long"
    ] * 2


def test_each_file_is_taken_once_and_what_is_missing_is_said(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert files_in([tmp_path, tmp_path / "a.png"]) == [tmp_path / "a.png"]
    with pytest.raises(DataError, match=r"b\.png does not exist"):
        files_in([tmp_path / "b.png"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing holds no DICOM, PNG, JPEG, TIFF or BMP file"):
        files_in([tmp_path / "nothing"])


def test_what_is_no_regular_file_is_never_waited_for(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.dicom")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.png"))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "round.png").symlink_to("round.png")
    assert files_in([tmp_path]) == [tmp_path / "a.png"]
    for name, kind in (("pipe.dicom", "a named pipe"), ("s.png", "a socket")):
        with pytest.raises(DataError, match=f"{name} is not a regular file but {kind}"):
            files_in([tmp_path / name])
    with pytest.raises(DataError, match=r"/dev/zero is not a regular file but a device"):
        files_in([Path("/dev/zero")])
    with pytest.raises(DataError, match=r"round\.png can't be opened \(Too many levels"):
        files_in([tmp_path / "round.png"])
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(DataError, match="can't be opened"):
            files_in([tmp_path / name])


def test_a_file_that_becomes_a_pipe_or_is_too_large_is_listed(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.dicom")
    with pytest.raises(DataError, match=r"pipe: not a regular file \(a named pipe\)"):
        file_content(tmp_path / "pipe.dicom", name="pipe")
    with (tmp_path / "big.dcm").open("wb") as file:
        file.truncate((1 << 30) + 1)
    summary = predict(
        [saved[0]], [tmp_path / "big.dcm"], tmp_path / "out", threshold=0.0, formats=["coco"]
    )
    assert summary.failures == {
        str(tmp_path / "big.dcm"): "big.dcm: the file has 1024 MiB; at most 1024 are read"
    }


def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    names = {0: '=HYPERLINK("http://x")', 1: "@SUM(A1)", 2: "-2+3", 3: "+1", 4: "\tx", 5: "\rx"}
    names |= {6: "\uff1d1", 7: "plain"}
    save_detector(detector(rcnn(id2label=names)), tmp_path / "detector")
    Image.new("L", (80, 60), 90).save(tmp_path / "a.png")
    monkey = Path("=a.png")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        (tmp_path / "a.png").rename(tmp_path / monkey)
        predict([tmp_path / "detector"], [monkey], tmp_path / "out", threshold=0.0)
    finally:
        os.chdir(here)
    with (tmp_path / "out/predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert rows
    expected = {name if name == "plain" else f"'{name}" for name in names.values()}
    assert {row[1] for row in rows} <= expected
    assert {row[0] for row in rows} == {"'=a.png"}
    assert all(float(cell) >= 0 for row in rows for cell in row[2:])
    assert [plain_cell(name) for name in names.values()] == [
        name if name == "plain" else f"'{name}" for name in names.values()
    ]


@pytest.mark.slow
def test_names_can_not_command_the_terminal_and_the_summary_counts_what_is_drawn(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (80, 60), 90).save(tmp_path / "in/good.png")
    (tmp_path / "in" / "bad\x1b]0;pwn\x07a.png").write_bytes(b"no picture")
    (tmp_path / "in" / "line\nfeed\u202egnp.png").write_bytes(b"no picture")
    command = [sys.executable, "-m", "cxrssl", "predict", str(saved[0]), str(tmp_path / "in")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--threshold", "0.5"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    output = (done.stdout + done.stderr).decode()
    assert not set("\x1b\x07\u202e") & set(output)
    assert "bad\\x1b]0;pwn\\x07a.png" in output
    assert "line\\nfeed\\u202egnp.png" in output
    result = json.loads((tmp_path / "out/predictions.json").read_text())
    scores = [entry["score"] for entry in result["annotations"]]
    strong = sum(score >= 0.5 for score in scores)
    assert (
        f"{strong} boxes at score >= 0.5 drawn on {int(strong > 0)} of 1 images; "
        f"{len(scores)} findings in 1 of 3 files are in the lists" in output
    )


def test_pictures_of_one_name_get_numbers() -> None:
    corners = ("a/x.png", "b/x.dcm", "c/X.jpg", "1.2.840", "y.dicom", "d/x-2.png", "e/x.png")
    names = list(overlay_names([Path(name) for name in corners]).values())
    assert names == ["x.png", "x-2.png", "X-3.png", "1.2.840.png", "y.png", "x-2-2.png", "x-4.png"]
    long = list(overlay_names([Path(f"{n}/{'n' * 250}") for n in range(10_000)]).values())
    assert len(set(long)) == 10_000
    assert max(len(name) for name in long) < 230


def test_a_name_that_is_no_utf8_loses_nothing(saved: tuple[Path, Detector], tmp_path: Path) -> None:
    name = os.fsdecode(b"J\xfcrgen.png")
    Image.new("L", (80, 60), 90).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / name)
    predict([saved[0]], [tmp_path / name], tmp_path / "out", threshold=0.0)
    assert "J\\udcfcrgen.png" in (tmp_path / "out" / "predictions.csv").read_text()
    # Strict readers refuse half a character in JSON, as an escape too.
    lists = msgspec.json.decode((tmp_path / "out" / "predictions.json").read_bytes())
    assert lists["images"][0]["file_name"].endswith("J\\udcfcrgen.png")
    assert [path.name for path in (tmp_path / "out/overlays").iterdir()] == ["J\\udcfcrgen.png"]


@pytest.mark.slow
def test_a_reader_that_dies_or_has_no_memory_costs_one_file_at_most(tmp_path: Path) -> None:
    files = [Path(name) for name in ("a", "large", "b")]
    result = dict(read_in_worker(files, out_of_memory))
    assert result[Path("large")] == "large: reading it takes more memory than there is"
    assert [result[Path(name)] for name in "ab"] == [1, 1]
    reader = read_in_worker([Path(name) for name in ("a", "b", "c", "d")], ends_idle)
    again = []
    for entry in reader:
        again.append(entry)
        if entry[0].name == "b":
            time.sleep(0.8)  # its process ends meanwhile
    assert [path.name for path, _ in again] == ["a", "b", "c", "d"]
    assert [value for _, value in again].count(1) >= 3


def test_a_folder_that_is_not_new_is_not_written(
    saved: tuple[Path, Detector], tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    run = partial(predict, [saved[0]], [tmp_path / "a.png"], threshold=0.3, formats=["coco"])
    run(tmp_path / "out")
    with pytest.raises(RunError, match=r"out is not empty. Name another folder with --out"):
        run(tmp_path / "out")
