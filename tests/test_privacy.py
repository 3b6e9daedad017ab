"""No patient data leaves the DICOM: planted names, dates and UIDs are in no output."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

NAME, DATE, UID, HOSPITAL = (
    "Plantedname^Jane",
    "19330417",
    "1.2.826.0.1.99887766.5",
    "Saint Planted",
)
PLANTED = ("Plantedname", DATE, "99887766", HOSPITAL)


def plant(dataset: Dataset) -> None:
    """Put a patient wherever a file has room for one."""
    dataset.PatientName = dataset.OtherPatientNames = dataset.ReferringPhysicianName = NAME
    dataset.PatientID = dataset.AccessionNumber = f"{NAME}-7"
    dataset.PatientBirthDate = dataset.StudyDate = dataset.SeriesDate = DATE
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.SOPInstanceUID = UID
    dataset.file_meta.MediaStorageSOPInstanceUID = UID
    dataset.InstitutionName = dataset.StationName = HOSPITAL
    dataset.ImageComments = dataset.StudyDescription = f"{NAME} {DATE} {HOSPITAL}"
    block = dataset.private_block(0x0011, f"{HOSPITAL} PRIVATE", create=True)
    block.add_new(0x01, "LO", NAME)
    item = Dataset()
    item.PatientName, item.PatientBirthDate = NAME, DATE
    dataset.RequestAttributesSequence = [item]


def with_raw(element: str, value: bytes) -> Callable[[Path], None]:
    """Return a change that writes bytes, valid or not, where an element's value is."""

    def change(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        marker = b"MARKERMARKERMARKER"[: len(value)].ljust(len(value), b"M")
        setattr(dataset, element, marker.decode())
        dataset.save_as(path, enforce_file_format=False)
        content = path.read_bytes()
        assert content.count(marker) == 1
        path.write_bytes(content.replace(marker, value))

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-900])


def no_pixels(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)


def lookup_table(value: str, kind: str = "LO") -> Callable[[Path], None]:
    """Return a change that adds a VOI table whose entries are words."""

    def change(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        item = Dataset()
        item.LUTDescriptor = [256, 0, 8]
        item.add_new(0x00283006, kind, value)
        dataset.VOILUTSequence = [item]
        dataset.save_as(path)

    return change


def frames(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = int(DATE)
    dataset.save_as(path)


def broken_kind(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(b"\xe0\x7f\x10\x00O") + 5
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])


FAULTS: dict[str, Callable[[Path], None]] = {
    "cut": cut,
    "no pixels": no_pixels,
    "lookup table": lookup_table(NAME),
    "frames": frames,
    "kind of pixels": broken_kind,
    "photometric": with_raw("PhotometricInterpretation", b"Plantedname^Jane"),
    "explanation": with_raw("WindowCenterWidthExplanation", b"Plantedname^Jane 19330417"),
    "voi function": with_raw("VOILUTFunction", b"Plantedname^Jane"),
    "birth date": with_raw("PatientBirthDate", b"Plantedname^Jane"),
    "image type": with_raw("ImageType", b"Plantedname^Jane"),
}


@pytest.fixture(scope="module")
def planted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the phantom with a patient in every file, and every kind of fault in some."""
    folder = tmp_path_factory.mktemp("planted") / "source"
    shutil.copytree(source, folder)
    changes = list(FAULTS.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what is planted
        for number, path in enumerate(sorted((folder / "train").iterdir())):
            dataset = pydicom.dcmread(path)
            plant(dataset)
            dataset.save_as(path)
            if number < len(changes):
                changes[number % len(changes)](path)
    shutil.copy(folder / "train" / path.name, folder / "train" / f"{NAME}.dicom")
    (folder / "train" / f"{HOSPITAL}.dicom").write_bytes(b"no DICOM at all")
    return folder


def spoken(*arguments: str) -> tuple[int, bytes]:
    command = [sys.executable, "-m", "cxrssl", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def assert_clean(content: bytes, source: str) -> None:
    for secret in PLANTED:
        for encoding in ("utf-8", "utf-16-le"):
            assert secret.encode(encoding) not in content, f"{secret!r} is in {source}"


@pytest.mark.filterwarnings("ignore")
def test_the_plants_are_there_to_be_found(planted: Path) -> None:
    contents = b"".join(path.read_bytes() for path in (planted / "train").iterdir())
    assert all(contents.count(secret.encode()) > 20 for secret in PLANTED)


def test_ingest_leaves_them_out_of_store_and_words(planted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    code, printed = spoken("ingest", str(planted), str(store), "--size", "48")
    assert code == 1
    assert printed.count(b"\n  ") > 6
    assert b"file name has characters other than" in printed
    assert_clean(printed, "what ingest says")
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert_clean(path.read_bytes(), path.name)
        assert_clean(path.name.encode(), "a file name")


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_doctor_says_nothing_of_them(planted: Path, options: tuple[str, ...]) -> None:
    code, printed = spoken("doctor", str(planted), *options)
    assert code == 1
    assert_clean(printed, "what doctor says")


@pytest.mark.slow
def test_describe_says_nothing_of_them(planted: Path, tmp_path: Path) -> None:
    table = str(planted / "train.csv")
    code, printed = spoken("describe", table, "--out", str(tmp_path / "out"))
    assert code == 0
    assert_clean(printed, "what describe says")
    for path in (tmp_path / "out").iterdir():
        assert_clean(path.read_bytes(), path.name)
