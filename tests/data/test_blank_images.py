"""A picture that came out blank or posterised is named by ingest and doctor, with the reason."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom
from cxrssl.doctor import doctor
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings

GENERATOR = np.random.default_rng(0)
FILM = (
    np.linspace(300, 3600, 160)[:, None] + GENERATOR.normal(0, 60, (160, 120))
).astype(np.uint16)  # fmt: skip
MIDDLE = {"window": (2048.0, 4096.0)}


def dicom(pixels: np.ndarray, **form: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        identity = FileIdentity(key="test")
        write_dicom(folder / "a.dcm", pixels, form=PixelForm(**form), identity=identity)  # type: ignore[arg-type]

    return write


def with_steps(folder: Path) -> None:
    """Write a film whose lookup table has sixteen steps over its whole range."""
    dicom(FILM)(folder)
    dataset = pydicom.dcmread(folder / "a.dcm")
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.add_new(0x00283006, "OW", (np.arange(4096) // 256 * 4369).astype("<u2").tobytes())
    dataset.VOILUTSequence = [item]
    dataset.save_as(folder / "a.dcm")


def padded(share: float, window: tuple[float, float]) -> Callable[[Path], None]:
    """Return what writes a film of which a share is padding."""

    def write(folder: Path) -> None:
        pixels = FILM.copy()
        pixels[:, : round(120 * share)] = 4095
        dicom(pixels, window=window)(folder)
        dataset = pydicom.dcmread(folder / "a.dcm")
        dataset.add_new(0x00280120, "US", 4095)
        dataset.save_as(folder / "a.dcm")

    return write


def picture(levels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(levels).save(folder / "a.png")


def mask(folder: Path) -> None:
    """Write a mask of 640 px, which has grey edges at any smaller size."""
    drawing = Image.new("L", (640, 640))
    for x in range(20, 620, 40):
        ImageDraw.Draw(drawing).ellipse((x, x // 2, x + 31, x // 2 + 117), fill=255)
    drawing.save(folder / "a.png")


def palette_of_ten(folder: Path) -> None:
    levels = (FILM // 410 * 28).astype(np.uint8)
    Image.fromarray(np.kron(levels, np.ones((5, 5), np.uint8))).rotate(7).save(folder / "a.png")


def warnings_of(write: Callable[[Path], None], folder: Path, settings: Settings) -> list[str]:
    """Return what ingest warns of, which is what its manifest and doctor say."""
    source = folder / "source"
    source.mkdir()
    write(source)
    summary = ingest(source, folder / "store", settings, num_workers=1)
    assert not summary.failures
    manifest = json.loads((folder / "store/manifest.json").read_text())
    assert manifest["warnings"] == summary.warnings
    result = doctor(source, num_workers=1)
    warnings = summary.warnings.get("a", [])
    assert [result["files"]["a"].get("warnings", []), result["warnings"]] == [
        warnings, len(summary.warnings),
    ]  # fmt: skip
    assert result["ok"]
    return warnings


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(
    ("write", "fault", "reason"),
    [
        (dicom(FILM, window=(40.0, 100.0)), "blank: every pixel has grey level 255 (white)",
         "its window lies beside (nearly) all of its levels"),
        (dicom(FILM, window=(60000.0, 400.0)), "blank: every pixel has grey level 0 (black)",
         "its window lies beside (nearly) all of its levels"),
        (dicom(FILM, window=(40.0, 400.0), inverted=True), "grey level 0 (black)",
         "its window lies beside (nearly) all of its levels"),
        (dicom(FILM, window=(2000.0, 2.0)), "black and white",
         "its window is far narrower than the range of its levels"),
        (dicom(FILM, window=(2000.0, 65535.0)), "posterised",
         "its window is far wider than the range of its levels"),
        (dicom(np.full((60, 60), 700, np.uint16), **MIDDLE), "blank", "so is the file itself"),
        (with_steps, "posterised: 1", "its lookup table (VOI LUT)"),
        (picture(FILM), "posterised", "of the file's 16 bits only the lowest 12 are used"),
        (picture(FILM * 4), "hardly any contrast", "only the lowest 14 are used"),
        (picture(np.full((60, 60), 128, np.uint8)), "blank", "so is the file itself"),
        (picture((FILM // 257).astype(np.uint8)), "posterised", "the file itself has no more"),
        (mask, "black and white", "the file itself has no more, as masks and drawings do"),
        (palette_of_ten, "posterised", "the file itself has no more"),
        (padded(0.5, (40.0, 100.0)), "grey level 255 (white)", "its window lies beside"),
    ],
)  # fmt: skip
def test_whatever_the_cause_it_is_named_with_its_reason(
    write: Callable[[Path], None], fault: str, reason: str, fit: str, tmp_path: Path
) -> None:
    settings = Settings(48, fit, exact=True)  # type: ignore[arg-type]
    (warning,) = warnings_of(write, tmp_path, settings)
    assert warning.startswith("the picture ")
    assert fault in warning
    assert reason in warning


@pytest.mark.parametrize("size", [16, 48, 200])
@pytest.mark.parametrize(
    "write",
    [
        dicom(FILM, **MIDDLE),
        dicom(FILM),
        dicom(FILM, inverted=True, **MIDDLE),
        padded(0.985, (2048.0, 4096.0)),
        picture(FILM * 16),
        picture((FILM // 16).astype(np.uint8)),
        picture(np.pad((FILM // 16).astype(np.uint8), ((900, 0), (0, 20)))),
    ],
)
def test_an_ordinary_film_is_not_named(
    write: Callable[[Path], None], size: int, tmp_path: Path
) -> None:
    assert warnings_of(write, tmp_path, Settings(size, "letterbox")) == []


def test_no_film_of_the_phantom_is_named(source: Path, tmp_path: Path) -> None:
    summary = ingest(source, tmp_path / "store", Settings(32), num_workers=2)
    assert (summary.num_images, summary.warnings) == (30, {})
