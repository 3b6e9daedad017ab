"""NIH ChestX-ray8 and ChestX-ray14: the films that one radiologist boxed, and the others.

`BBox_List_2017.csv`: image, finding and a box x, y, width, height in pixels of the published
1024x1024 PNG; a resized copy is scaled. Its header writes four columns as one word, so that commas
divide it oddly: "Image Index,Finding Label,Bbox [x,y,w,h],,,". The size that `Data_Entry_2017.csv`
states is that of the film before NIH resized it, and is not used. "Infiltrate" is called
"Infiltration", as in all other files of the data set.

`Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` (Image Index, Finding Labels): findings mined
from reports. A film that has no box and "No Finding" is normal, as read by the reader "reports";
one with a finding and no box is stored without truth. Without that file only the films with boxes
have been read. A film of 00000013_005.png is of patient 00000013.

**The boxes are not all that is to be seen.** One label was boxed in most films: of the 880, 521
have another of the eight boxed findings in their reports, without a box. The files that divide the
films into training and test (`train_val_list.txt`, `test_list.txt`) are not used.

Source: Wang et al., "ChestX-ray8", CVPR 2017, and the README of the data set. Never tried on all
real films: the real tables, as torchxrayvision ships them, were, and 44 of the films.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.patients import nih_patient
from cxrssl.data.tables.published_files import (
    PublishedSource,
    files_named,
    header_of,
    number_in,
    rows_of,
    single_file,
)

FILM_SIZE = (1024, 1024)
"""Width and height in pixels of every published film."""
REPORTS_READER = "reports"
"""The reader of what was mined from reports."""
_BOXES = "BBox_List_2017.csv"
# The later file comes first: of both, it is the one that is read.
_ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_BOX_COLUMNS = ["Image Index", "Finding Label"]
_ENTRY_COLUMNS = ["Image Index", "Finding Labels"]
_NUM_CELLS = 6
_NORMAL = "No Finding"
_SPELLINGS = {"Infiltrate": "Infiltration"}


def nih_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the tables of the data set in a folder; [] if its boxes are not there.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    boxes = [path for path in files_named(files, _BOXES) if _is_box_list(header_of(path))]
    if not boxes:
        return []
    entries: list[Path] = []
    for name in _ENTRIES:
        named = files_named(files, name)
        entries = entries or [p for p in named if header_of(p)[:2] == _ENTRY_COLUMNS]
    return [single_file(folder, group) for group in (boxes, entries) if group]


def read_nih(source: PublishedSource) -> StatedMarks:
    """Read the tables of the data set.

    Raises:
        DataError: If one can't be read, or the list of boxes has a row without an image or class.
    """
    (path,) = source.called(_BOXES)
    marks = list(_boxes(path, source.name_of(path)))
    if not marks:
        raise DataError(f"{source.name_of(path)} has no row. Take the file as published.")
    images = [_stated(mark.image, mark.place) for mark in marks]
    num_renamed = sum(mark.category in _SPELLINGS for mark in marks)
    marks = [
        mark._replace(category=_SPELLINGS.get(m, m)) for mark in marks for m in [mark.category]
    ]
    notes = []
    if num_renamed:
        notes.append(f"{num_renamed} box(es) of 'Infiltrate' are 'Infiltration' here")
    for entries in source.called(*_ENTRIES):
        notes += _read_entries(source, entries, marks, images)
    # Films that nobody read may be those of people who are in a split.
    others = source.other_images({image.name for image in images})
    images += [
        StatedImage(path, "its file name", patient=nih_patient(name))
        for path, name in others.items()
        if nih_patient(name)
    ]
    return StatedMarks(tuple(source.tables), marks, images, "sides", notes=tuple(notes))


def _is_box_list(header: list[str]) -> bool:
    """Return whether a header is that of the list of boxes, as published or put right."""
    has_box = len(header) >= _NUM_CELLS and header[2].casefold() in ("bbox [x", "x")
    return header[:2] == _BOX_COLUMNS and has_box


def _boxes(path: Path, name: str) -> Iterator[Mark]:
    for cells, place in rows_of(path, name):
        if len(cells) < _NUM_CELLS or any(cells[_NUM_CELLS:]):
            raise DataError(
                f"{place}: it has {len(cells)} cells; expected image, finding, x, y, width and "
                "height, and nothing else."
            )
        image, category = plain_id(PurePosixPath(cells[0])), cells[1]
        if not image or not category:
            raise DataError(f"{place}: the image or the finding is missing. Name both.")
        x, y, width, height = map(number_in, cells[2:_NUM_CELLS])
        box: Corners = (x, y, x + width, y + height)
        yield Mark(image, NO_READER, category, box, place)


def _stated(name: str, place: str, *, kind: str = "", unmarked: str = "") -> StatedImage:
    return StatedImage(name, place, FILM_SIZE, nih_patient(name), kind=kind, unmarked=unmarked)


def _read_entries(
    source: PublishedSource, path: Path, marks: list[Mark], images: list[StatedImage]
) -> list[str]:
    """Add what the reports say of the films that are there and have no box.

    Returns:
        Notes, a sentence each.
    """
    boxed = _findings_by_film(marks)
    drawn = {category for categories in boxed.values() for category in categories}
    present = {plain_id(PurePosixPath(image.name)) for image in source.files}
    num_normal = num_partly = num_absent = 0
    for cells, place in rows_of(path, source.name_of(path)):
        if len(cells) < len(_ENTRY_COLUMNS):
            raise DataError(f"{place}: it has {len(cells)} cell(s). Take the file as published.")
        name, findings = plain_id(PurePosixPath(cells[0])), cells[1].split("|")
        if name not in present:
            num_absent += 1
        elif name in boxed:
            num_partly += bool(drawn.intersection(findings) - boxed[name])
        elif findings == [_NORMAL]:
            num_normal += 1
            marks.append(Mark(name, REPORTS_READER, NO_FINDING, NO_BOX, place))
            images.append(_stated(name, place, kind="normal"))
        else:
            unmarked = f"{place} has findings from its report, and none of them has a box"
            images.append(_stated(name, place, unmarked=unmarked))
    counts = {
        f"film(s) are normal by their reports alone (reader {REPORTS_READER!r}); labels were mined "
        "from the reports by a program": num_normal,
        "film(s) with boxes have another of the boxed findings in their report, without a box: "
        "detections there count as false": num_partly,
        f"row(s) of {source.name_of(path)} are of films that are not in the folder": num_absent,
    }
    return [f"{count} {text}" for text, count in counts.items() if count]


def _findings_by_film(marks: Iterable[Mark]) -> Mapping[str, set[str]]:
    boxed: dict[str, set[str]] = {}
    for mark in marks:
        boxed.setdefault(mark.image, set()).add(mark.category)
    return boxed
