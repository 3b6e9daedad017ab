"""The `images` of COCO files: the file, the patient and the readers of each."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from cxrssl.core.sizes import Size, agreed_size, is_unreadable, stated_size, unreadable_note
from cxrssl.data.coco.json import Id, Image
from cxrssl.data.tables.coco_documents import SourceDocument
from cxrssl.data.tables.coco_readers import Listing, readers_of
from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids, plain_id
from cxrssl.data.tables.lookup import Location, locate
from cxrssl.data.tables.rows import is_id
from cxrssl.data.tables.stated_patients import PATIENT_KEYS, is_no_patient, stated_patient

_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', a leading dot, or "
    f"more than {LONGEST_ID} characters. Rename it."
)
_OTHERS = (
    "there is no such file where {} says, and the one elsewhere that is called so is listed by "
    "another JSON"
)
_KINDS = {"normal", "other finding"}


@dataclass(frozen=True)
class ListedImages:
    """The images of COCO files; a key is the number of a document and an id there.

    Attributes:
        ids: Key -> image id, of listings whose annotations count.
        readers: Key -> reader of annotations that name none.
        files: Image id -> file.
        sizes: Image id -> stated (width, height).
        patients: Image id -> stated patient.
        kinds: Image id -> "normal" or "other finding", as stated.
        tables: Image id -> names of the documents that list it.
        faults: Image id, or the place of a name that can be none -> why it can't be used.
        notes: What was guessed, a sentence each.
    """

    ids: dict[tuple[int, Id], str] = field(default_factory=dict)
    readers: dict[tuple[int, Id], str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def locate_images(folder: Path, documents: Sequence[SourceDocument]) -> ListedImages:
    """Find the file of every listed image.

    Raises:
        DataError: If it can't be told whether two lists of the same files are two readers'.
    """
    listings = [
        Listing(number, row, image, f"{document.name}, entry {row} of images")
        for number, document in enumerate(documents)
        for row, image in enumerate(document.images)
    ]
    locations = _locations(folder, documents, listings)
    missing = [listing for listing in listings if locations[listing.key].fault]
    groups: dict[PurePosixPath, list[Listing]] = defaultdict(list)
    for listing in listings:
        if not locations[listing.key].fault:
            groups[locations[listing.key].path].append(listing)
    ids, notes = image_ids(groups)
    readers = readers_of(documents, groups)
    found = ListedImages(notes=notes)
    for file, of_file in groups.items():
        name = ids.get(file, "")
        if not _is_short_id(name):
            found.faults[_fault_key(of_file[0], documents)] = _BAD_NAME
        elif _add(found, folder / file, name, of_file):
            keys = [listing.key for listing in of_file if listing.key not in readers.copies]
            found.ids.update(dict.fromkeys(keys, name))
            found.readers.update({key: readers.names[key] for key in keys})
            # Those of copies too: a film is in the parts of all that list it.
            numbers = dict.fromkeys(listing.document for listing in of_file)
            found.tables[name] = tuple(documents[number].name for number in numbers)
    for listing in missing:
        _add_fault(found, _fault_key(listing, documents), locations[listing.key])
    found.notes.extend(_guess_notes(groups, locations))
    found.notes.extend(readers.notes)
    found.notes.extend(_odd_values(listings))
    return found


def _guess_notes(
    groups: Mapping[PurePosixPath, Sequence[Listing]], locations: Mapping[tuple[int, Id], Location]
) -> list[str]:
    guessed = {
        (listing.document, listing.image.file_name)
        for listings in groups.values()
        for listing in listings
        if locations[listing.key].is_guess
    }
    if not guessed:
        return []
    return [
        f"{len(guessed)} file_name(s) are not where they say; the files were found by the last "
        "part of the name, which no other file has"
    ]


def _locations(
    folder: Path, documents: Sequence[SourceDocument], listings: Sequence[Listing]
) -> dict[tuple[int, Id], Location]:
    """Return where the file of each listing lies, below the folder of its document first."""
    names: dict[int, dict[Id, str]] = defaultdict(dict)
    for listing in listings:
        names[listing.document][listing.image.id] = listing.image.file_name or ""
    locations: dict[tuple[int, Id], Location] = {}
    for number, document in enumerate(documents):
        stated = {key: _stated_name(folder, document, name) for key, name in names[number].items()}
        located = locate(folder, stated.values())
        locations |= {(number, key): located[name] for key, name in stated.items()}
    stated_by = {at.path: key[0] for key, at in locations.items() if not (at.fault or at.is_guess)}
    for key, at in locations.items():
        document = documents[key[0]]
        is_others = at.is_guess and stated_by.get(at.path, key[0]) != key[0]
        if is_others and not at.path.is_relative_to(_base(document)):
            locations[key] = replace(at, fault=_OTHERS.format(document.name))
    for number, document in enumerate(documents):
        missing = {i: name for i, name in names[number].items() if locations[number, i].fault}
        nearby = _nearby(folder, document, missing) if document.place.parts else {}
        for image_id, at in nearby.items():
            if at.path not in stated_by:
                locations[number, image_id] = at
    return locations


def _nearby(folder: Path, document: SourceDocument, names: Mapping[Id, str]) -> dict[Id, Location]:
    """Return the files that are found anywhere below the folder of a document."""
    found = locate(folder / document.place, names.values())
    return {
        key: Location(document.place / found[name].path, is_guess=True)
        for key, name in names.items()
        if not found[name].fault
    }


def _stated_name(folder: Path, document: SourceDocument, name: str) -> str:
    """Return a name below the source of the file that a document's name means.

    As stated, where it is at none of the places that tools use.
    """
    plain = name.replace("\\", "/")
    if plain.startswith("/") or "://" in plain:
        return name
    for place in _places(document):
        candidate = posixpath.normpath(str(place / plain))
        # Whether it leads out of the folder by a link is seen when it is looked up.
        if not candidate.startswith("..") and os.path.isfile(folder / candidate):  # noqa: PTH113
            return candidate
    return name


def _places(document: SourceDocument) -> Iterator[PurePosixPath]:
    """Yield the folders that file names of a document may be relative to."""
    yield document.place
    base = _base(document)
    # CVAT's and COCO's own: annotations/instances_train2017.json, images/train2017/ or train2017/.
    for part in dict.fromkeys(
        [document.stem.removeprefix("instances_"), document.stem.rpartition("_")[2]]
    ):
        yield base / "images" / part
        yield base / part
    yield base
    yield base / "images"
    yield base / "data"


def _base(document: SourceDocument) -> PurePosixPath:
    """Return the folder that a document is of: its own, or what holds its `annotations/`."""
    place = document.place
    return place.parent if place.name.casefold() == "annotations" else place


def _add(found: ListedImages, file: Path, name: str, listings: Sequence[Listing]) -> bool:
    """Add the image of a file and what its listings say of it; return whether they agree."""
    size, contradiction = agreed_size(stated_size(i.image.width, i.image.height) for i in listings)
    patients: dict[str, Listing] = {}
    for listing in listings:
        patients.setdefault(stated_patient(_patients(listing.image)), listing)
    patients.pop("", None)
    if len(patients) > 1:
        first, second = list(patients.values())[:2]
        # Values are not quoted: one may be a patient's.
        contradiction = (
            f"{first.place} and {second.place} give it two patients; it has one. Correct one of "
            "them"
        )
    if contradiction:
        found.faults[name] = f"{contradiction}."
        return False
    if size is not None:
        found.sizes[name] = size
    found.files[name] = file
    found.patients.update(dict.fromkeys([name] if patients else [], next(iter(patients), "")))
    kinds = {_kind(listing.image) for listing in listings} - {""}
    if kinds:
        # One reader's finding is another's normal.
        found.kinds[name] = "normal" if kinds == {"normal"} else "other finding"
    return True


def _patients(image: Image) -> list[object]:
    return [getattr(image, key) for key in PATIENT_KEYS]


def _kind(image: Image) -> str:
    kind = image.kind.strip().casefold() if isinstance(image.kind, str) else ""
    return kind if kind in _KINDS else ""


def _odd_values(listings: Sequence[Listing]) -> Iterator[str]:
    """Yield what is said of images and can't be read."""
    images = [listing.image for listing in listings]
    num_unreadable = sum(is_unreadable(i.width) or is_unreadable(i.height) for i in images)
    if num_unreadable:
        yield unreadable_note(num_unreadable)
    patients = {
        key: sum(is_no_patient(getattr(image, key)) for image in images) for key in PATIENT_KEYS
    }
    for key, count in patients.items():
        if count:
            yield f"{key} of {count} image(s) is neither a text nor a whole number, and is not used"
    num_kinds = sum(bool(image.kind) and not _kind(image) for image in images)
    if num_kinds:
        yield (
            f"kind of {num_kinds} image(s) is neither 'normal' nor 'other finding', and is not used"
        )


def _fault_key(listing: Listing, documents: Sequence[SourceDocument]) -> str:
    prefix = f"file-{listing.document}-" if len(documents) > 1 else ""
    return f"{prefix}image-{listing.row}"


def _add_fault(images: ListedImages, fault_key: str, location: Location) -> None:
    """Add the fault of a listing without a file, under the image id that it would have had."""
    image_id = plain_id(location.path)
    if not _is_short_id(image_id):
        images.faults[fault_key] = _BAD_NAME
    else:
        is_taken = image_id in images.files or image_id in images.faults
        images.faults[fault_key if is_taken else image_id] = f"{location.fault}."


def _is_short_id(name: str) -> bool:
    return is_id(name) and len(name) <= LONGEST_ID
