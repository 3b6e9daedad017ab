"""Which window or table is used where the first can't be: the next, and it is said."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cxrssl.core.errors import DataError
from cxrssl.core.images import Radiograph
from cxrssl.data.dicom.read import decode_dicom, read_dicom
from dicom_files import dicom_file

RAMP = np.linspace(0, 4095, 48 * 64).reshape(48, 64).astype(np.uint16)
NUMBER_FAULT = "WindowCenter or WindowWidth is not a number"


def film(folder: Path, **values: object) -> Path:
    return dicom_file(folder / "image.dcm", RAMP, BitsStored=12, HighBit=11, **values)


def with_window(folder: Path, centre: str, width: str, **values: object) -> Radiograph:
    """Decode a film with a window of any text: written over numbers, as pydicom writes no other."""
    path = film(folder, WindowCenter="11111111111111", WindowWidth="22222222222222", **values)
    content = path.read_bytes()
    for digits, text in (("11111111111111", centre), ("22222222222222", width)):
        assert content.count(digits.encode()) == 1
        content = content.replace(digits.encode(), text.ljust(14).encode())
    return decode_dicom(content, name="x", size_px=None, fit="squash", exact=True)


def shown(path: Path) -> Radiograph:
    return read_dicom(path, size_px=None)


def windowed(centre: float, width: float) -> np.ndarray:
    """Return RAMP through a LINEAR window, by PS3.3 C.11.2.1.2.1."""
    return np.rint(np.clip((RAMP - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255)


def table(entries: np.ndarray, *, bits: int, stated: int | None = None) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) if stated is None else stated, 0, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        ("2048,0", "4096,0"),
        ("AUTO", "AUTO"),
        ("NaN", "NaN"),
        ("2048", "inf"),
        ("-inf", "4096"),
        ("2048", "1e999"),
        ("Doe^John", "100"),
        ("2048", "0x10"),
    ],
)
def test_a_window_that_is_no_number_gives_way_to_the_percentile_range(
    centre: str, width: str, tmp_path: Path
) -> None:
    result = with_window(tmp_path, centre, width)
    assert np.array_equal(result.pixels, shown(film(tmp_path)).pixels)
    assert "percentile range" in result.route
    assert result.warnings == (f"{NUMBER_FAULT}: the percentile range was used",)


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        ("AUTO\\1000", "AUTO\\501"),
        ("NaN\\1000", "9\\501"),
        ("\\1000", "\\501"),
        ("5\\6\\1000", "x\\inf\\501"),
    ],
)
def test_the_window_beside_it_is_tried_first(centre: str, width: str, tmp_path: Path) -> None:
    result = with_window(tmp_path, centre, width)
    assert np.array_equal(result.pixels, windowed(1000, 501))
    assert result.warnings[0].endswith(f"{NUMBER_FAULT}: a window was used")


@pytest.mark.parametrize(
    ("width", "function"), [("0", "LINEAR"), ("0.5", ""), ("0", "LINEAR_EXACT"), ("-5", "SIGMOID")]
)
def test_a_window_that_is_too_narrow_is_said(width: str, function: str, tmp_path: Path) -> None:
    result = with_window(tmp_path, "1000", width, VOILUTFunction=function)
    assert "percentile range" in result.route
    fault = f"WindowWidth is too small for a {function or 'LINEAR'} window"
    assert result.warnings == (f"{fault}: the percentile range was used",)


def test_half_a_window_is_said(tmp_path: Path) -> None:
    result = shown(film(tmp_path, WindowCenter=1000))
    assert "a window has only one of WindowCenter and WindowWidth" in result.warnings[0]


def test_what_is_whole_needs_no_word(tmp_path: Path) -> None:
    assert shown(film(tmp_path)).warnings == ()
    assert shown(film(tmp_path, WindowCenter="", WindowWidth="")).warnings == ()
    assert shown(film(tmp_path, WindowCenter=[9, 1], WindowWidth=[99, 0])).warnings == ()


FAULTY_TABLES = {
    "short": table(np.arange(100), bits=16, stated=4096),
    "no bits": table(np.arange(4096), bits=0),
    "many bits": table(np.arange(4096), bits=17),
}


def without(item: Dataset, keyword: str) -> Dataset:
    item = Dataset(item)
    delattr(item, keyword)
    return item


FAULTY_TABLES["no data"] = without(table(np.arange(4096), bits=12), "LUTData")
FAULTY_TABLES["no descriptor"] = without(table(np.arange(4096), bits=12), "LUTDescriptor")
FAULTY_TABLES["empty"] = Dataset()


@pytest.mark.parametrize("fault", FAULTY_TABLES)
def test_a_faulty_table_gives_way_to_the_window(fault: str, tmp_path: Path) -> None:
    item = FAULTY_TABLES[fault]
    result = shown(film(tmp_path, VOILUTSequence=[item], WindowCenter=1000, WindowWidth=501))
    assert np.array_equal(result.pixels, windowed(1000, 501))
    assert "a VOI LUT is " in result.warnings[0]
    assert result.warnings[0].endswith(": a window was used")
    result = shown(film(tmp_path, VOILUTSequence=[item]))
    assert np.array_equal(result.pixels, shown(film(tmp_path)).pixels)
    assert result.warnings[0].endswith(": the percentile range was used")


def test_a_faulty_table_gives_way_to_the_next(tmp_path: Path) -> None:
    entries = np.arange(4096)[::-1]
    items = [FAULTY_TABLES["short"], table(entries, bits=12)]
    result = shown(film(tmp_path, VOILUTSequence=items, WindowCenter=1000, WindowWidth=501))
    assert np.array_equal(result.pixels, np.rint(entries[RAMP] / 4095 * 255))
    assert result.warnings[0].endswith("than its descriptor says: another VOI LUT was used")


@pytest.mark.parametrize(("says", "holds"), [(16, 12), (16, 14), (16, 8), (12, 10), (8, 12)])
def test_a_table_is_scaled_by_the_bits_that_its_data_take(
    says: int, holds: int, tmp_path: Path
) -> None:
    entries = np.rint(np.linspace(0, 2**holds - 1, 4096))
    honest = shown(film(tmp_path, VOILUTSequence=[table(entries, bits=holds)]))
    lying = shown(film(tmp_path, VOILUTSequence=[table(entries, bits=says)]))
    assert np.array_equal(honest.pixels, np.rint(entries[RAMP] / (2**holds - 1) * 255))
    assert np.array_equal(lying.pixels, honest.pixels)
    assert honest.warnings == ()
    assert lying.warnings == (
        f"the VOI LUT says {says} bits and holds {holds}: it was scaled by what it holds",
    )


def test_a_broken_modality_table_or_rescale_is_refused(tmp_path: Path) -> None:
    """Levels without it are other levels: there is no next rule."""
    path = film(tmp_path, ModalityLUTSequence=[FAULTY_TABLES["short"]])
    with pytest.raises(DataError, match="header is broken: ModalityLUTSequence"):
        shown(path)
    path = film(tmp_path, RescaleSlope="1234.5")
    path.write_bytes(path.read_bytes().replace(b"1234.5", b"DOE^J "))
    with pytest.raises(DataError, match="header is broken: RescaleSlope") as error:
        shown(path)
    assert "DOE" not in str(error.value)


def item_of(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def grouped(group: str, **values: object) -> dict[str, list[Dataset]]:
    """Return functional groups: those of all frames, or of each."""
    return {group: [item_of(**{name: [value] for name, value in values.items()})]}


@pytest.mark.parametrize(
    "group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
)
def test_functional_groups_hold_window_and_rescale(group: str, tmp_path: Path) -> None:
    """PS3.3 C.7.6.16.2.9 and C.7.6.16.2.10."""
    window = item_of(WindowCenter=2 * 1000 + 7, WindowWidth=2 * 501, VOILUTFunction="SIGMOID")
    rescale = item_of(RescaleSlope=2, RescaleIntercept=7, RescaleType="US")
    flat = film(
        tmp_path,
        WindowCenter=2 * 1000 + 7,
        WindowWidth=2 * 501,
        VOILUTFunction="SIGMOID",
        RescaleSlope=2,
        RescaleIntercept=7,
    )
    expected = shown(flat)
    groups = grouped(group, FrameVOILUTSequence=window, PixelValueTransformationSequence=rescale)
    result = shown(film(tmp_path, **groups))
    assert np.array_equal(result.pixels, expected.pixels)
    assert result.route == expected.route
    assert result.warnings == ()


def test_a_window_in_the_header_goes_before_one_in_a_group(tmp_path: Path) -> None:
    groups = grouped(
        "SharedFunctionalGroupsSequence",
        FrameVOILUTSequence=item_of(WindowCenter=3000, WindowWidth=101),
    )
    result = shown(film(tmp_path, WindowCenter=1000, WindowWidth=501, **groups))
    assert np.array_equal(result.pixels, windowed(1000, 501))
    result = with_window(tmp_path, "AUTO", "AUTO", **groups)
    assert np.array_equal(result.pixels, windowed(3000, 101))
    assert result.warnings == (f"{NUMBER_FAULT}: a window was used",)


def test_a_table_in_a_group_is_read(tmp_path: Path) -> None:
    entries = np.arange(4096)[::-1]
    inner = item_of(VOILUTSequence=[table(entries, bits=12)])
    groups = grouped("SharedFunctionalGroupsSequence", FrameVOILUTSequence=inner)
    assert np.array_equal(
        shown(film(tmp_path, **groups)).pixels, np.rint(entries[RAMP] / 4095 * 255)
    )


@pytest.mark.parametrize(
    ("photometric", "shape", "is_warned"),
    [
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "", False),
    ],
)
def test_a_shape_that_contradicts_the_photometric_interpretation_is_said(
    photometric: str, shape: str, is_warned: bool, tmp_path: Path
) -> None:
    result = shown(
        film(tmp_path, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    )
    text = f"PresentationLUTShape {shape} contradicts {photometric}, which was followed"
    assert [text in warning for warning in result.warnings] == ([True] if is_warned else [])
    assert (result.pixels[0, 0] < result.pixels[-1, -1]) == (photometric == "MONOCHROME2")
