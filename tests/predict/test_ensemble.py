"""Several detectors and flipped images, by whole calls of `cxrssl predict`."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.core.images import Fit
from cxrssl.data.image_file import DetectorImage
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import save_detector
from cxrssl.predict import predict
from cxrssl.predict.ensemble import detections, load_ensemble
from cxrssl.predict.found import Finding
from detectors import detector, fcos, rcnn, rtdetr
from fused_boxes import assert_same, by_the_paper

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save detectors of the classes a and b that differ in family, fit, and order of classes."""
    folder = tmp_path_factory.mktemp("detectors")
    detectors: dict[str, Detector] = {
        "squash": detector(rcnn(norm="frozen")),
        "letterbox": detector(rcnn(norm="frozen", id2label={0: "b", 1: "a"}), fit="letterbox"),
        "rtdetr": detector(rtdetr()),
        "fcos": detector(fcos()),
        "other": detector(rcnn(norm="frozen", id2label={0: "a", 1: "c", 2: "d"})),
    }
    for name, trained in detectors.items():
        save_detector(trained, folder / name)
    return {name: folder / name for name in detectors}


def findings_of(out: Path) -> dict[str, list[Finding]]:
    """Read the findings of each file from predictions.csv."""
    findings: dict[str, list[Finding]] = {}
    with (out / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            x0, y0, x1, y1 = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
            finding = Finding((x0, y0, x1, y1), row["class"], float(row["score"]))
            findings.setdefault(row["file"], []).append(finding)
    return findings


def test_boxes_of_several_detectors_are_those_of_each_fused(
    folders: dict[str, Path], source: Path, tmp_path: Path
) -> None:
    files = sorted((source / "train").glob("*.dicom"))[:2]
    names = ("squash", "letterbox", "rtdetr", "fcos")
    alone = []
    for name in names:
        predict([folders[name]], files, tmp_path / name, threshold=0.0, formats=["csv"])
        alone.append(findings_of(tmp_path / name))
    together = [folders[name] for name in names]
    predict(together, files, tmp_path / "fused", threshold=0.0, formats=["csv"])
    fused = findings_of(tmp_path / "fused")
    assert len(fused) == 2
    for file, findings in fused.items():
        expected = by_the_paper([of_detector[file] for of_detector in alone], len(names))
        labels = [{finding.label for finding in of_detector[file]} for of_detector in alone]
        assert labels[0] != labels[1]  # so that classes in another order would be seen
        assert_near(findings, expected[: len(findings)])


def assert_near(result: list[Finding], expected: list[Finding]) -> None:
    """Compare by score, then box: lists have 2 decimals of a box and 5 of a score."""
    assert len(result) == len(expected) > 0
    for mine in result:
        same = [
            other
            for other in expected
            if other.label == mine.label
            and other.box == pytest.approx(mine.box, abs=0.02)
            and other.score == pytest.approx(mine.score, abs=2e-5)
        ]
        assert same, mine


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_a_flipped_image_is_looked_at_as_its_mirror_image_and_boxes_come_back(fit: Fit) -> None:
    made = detector(rcnn(norm="frozen"), fit=fit)
    made.model.eval()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48), dtype=np.uint8)
    if fit == "squash":  # no resampling, so that the mirror image is one to the last bit
        pixels = np.ascontiguousarray(np.repeat(pixels, 2, axis=1)[:, :64])
    height, width = pixels.shape
    square = made.processor.size_px, fit
    picture, mirrored = (
        DetectorImage({square: levels}, width, height)  # type: ignore[dict-item]
        for levels in (pixels, np.ascontiguousarray(pixels[:, ::-1]))
    )
    (flipped,) = detections(made, [picture], CPU, flipped=True)
    (of_mirror,) = detections(made, [mirrored], CPU)
    back = [
        Finding((width - f.box[2], f.box[1], width - f.box[0], f.box[3]), f.label, f.score)
        for f in of_mirror
    ]
    assert len(flipped) > 0
    assert_same(flipped, back)


def test_one_detector_without_flip_is_not_fused_and_flip_halves_what_one_view_shows(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
    square = detector(rcnn(norm="frozen")).processor.size_px, "squash"
    picture = DetectorImage({square: pixels}, 64, 64)  # type: ignore[dict-item]
    plain, flipping = (load_ensemble([folders["squash"]], flip=flip) for flip in (False, True))
    plain.to(CPU)
    flipping.to(CPU)
    (alone,) = plain.findings([picture], CPU)
    assert (alone,) == tuple(detections(plain.detectors[0], [picture], CPU))
    (mirror,) = detections(plain.detectors[0], [picture], CPU, flipped=True)
    (both,) = flipping.findings([picture], CPU)
    assert_same(both, by_the_paper([alone, mirror], 2)[: len(both)])
    assert len(both) == plain.detectors[0].processor.findings_per_image
    assert plain.source == str(folders["squash"])
    assert flipping.source.endswith("squash, each image also flipped left to right; weighted "
                                    "boxes fusion, IoU 0.55")  # fmt: skip


def test_detectors_of_other_classes_and_one_named_twice_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        DataError,
        match=r"squash and \S+other have different classes: \S+squash alone has b; \S+other alone "
        r"has c, d\. Boxes",
    ):
        load_ensemble([folders["squash"], folders["other"]], flip=False)
    with pytest.raises(DataError, match="squash is named twice"):
        load_ensemble([folders["squash"], folders["squash"]], flip=False)


@pytest.mark.slow
def test_the_command_line_fuses_and_says_of_what(folders: dict[str, Path], tmp_path: Path) -> None:
    Image.effect_noise((80, 60), 90).save(tmp_path / "a.png")
    command = [
        *(sys.executable, "-W", "error", "-m", "cxrssl", "predict", str(folders["squash"])),
        *(str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--flip"),
        *("--with", str(folders["letterbox"]), "--with", str(folders["rtdetr"])),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    info = (tmp_path / "out/predictions.json").read_text().splitlines()[1]
    assert " + ".join(str(folders[name]) for name in ("squash", "letterbox", "rtdetr")) in info
    assert "each image also flipped left to right; weighted boxes fusion, IoU 0.55" in info
    command[command.index(str(folders["rtdetr"]))] = str(folders["other"])
    command[command.index(str(tmp_path / "out"))] = str(tmp_path / "new")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "have different classes" in refused.stderr
