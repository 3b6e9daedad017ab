"""Whose the annotations of COCO files are that name no reader.

A file that is listed once is read by one, "R0". One that is listed several times, under several ids
of one JSON or in several JSON files, was read by several, unless the lists are copies: a split and
the whole that it was taken from say the same of an image, and are one reader's word.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.json import Id, Image
from cxrssl.data.tables.coco_documents import SourceDocument

NO_READER = "R0"
_DECIMALS = 3
"""Of a pixel: boxes that differ by less are one."""
_MAX_NAMED = 5
_MIN_APART = 5
"""Images with findings: two readers agree in one of as many that there is something."""


class Listing(NamedTuple):
    """An entry of `images`.

    Attributes:
        document: Number of its document.
        row: Number of the entry.
        image: The entry.
        place: Where it stands, for messages.
    """

    document: int
    row: int
    image: Image
    place: str

    @property
    def key(self) -> tuple[int, Id]:
        """What annotations of its document name it by."""
        return self.document, self.image.id


class _Unit(NamedTuple):
    """Listings that can be of one reader: the n-th of each file in a document, n from 0."""

    document: int
    number: int


@dataclass(frozen=True)
class Readers:
    """Who read which listing.

    Attributes:
        names: Key of a listing -> reader of its annotations that name none.
        copies: Keys of listings that only repeat another's annotations.
        notes: What was taken for readers and for copies, a sentence each.
    """

    names: dict[tuple[int, Id], str]
    copies: set[tuple[int, Id]]
    notes: list[str]


def readers_of(
    documents: Sequence[SourceDocument], groups: Mapping[PurePosixPath, Sequence[Listing]]
) -> Readers:
    """Tell the readers of listings, by file.

    Raises:
        DataError: If two lists of the same files are neither copies nor two readers' for sure.
    """
    repeated = {file: listings for file, listings in groups.items() if len(listings) > 1}
    units = {file: _units(listings) for file, listings in repeated.items()}
    copies, notes = _copies(documents, units)
    several = {
        file: {unit: listing for unit, listing in of_file.items() if listing.key not in copies}
        for file, of_file in units.items()
    }
    several = {file: of_file for file, of_file in several.items() if len(of_file) > 1}
    # A document is a reader only where it lists what another lists as well.
    as_readers = sorted(
        {unit.document for of_file in several.values() if _num_documents(of_file) > 1
         for unit in of_file}
    )  # fmt: skip
    numbers = {document: number for number, document in enumerate(as_readers, start=1)}
    max_listings = max((len(of_file) for of_file in several.values()), default=0)
    named = {name for document in documents for name in document.annotations.readers}
    prefix = _prefix(named, max(max_listings, len(as_readers)))
    names: dict[tuple[int, Id], str] = {}
    for file, listings in groups.items():
        of_file = several.get(file, {})
        for listing in listings:
            names[listing.key] = NO_READER
        for place, (unit, listing) in enumerate(of_file.items(), start=1):
            if unit.document not in numbers:
                names[listing.key] = f"{prefix}{place}"
                continue
            again = f"-{unit.number + 1}" if unit.number else ""
            names[listing.key] = f"{prefix}{numbers[unit.document]}{again}"
        if not of_file and listings[0].document in numbers:
            names[listings[0].key] = f"{prefix}{numbers[listings[0].document]}"
    num_within = sum(_num_documents(of_file) < len(of_file) for of_file in several.values())
    if num_within:
        notes.append(
            f"{num_within} file(s) are listed under several image ids: each is one image, and each "
            f"of its ids one reader ({prefix}1, {prefix}2, in the list's order) where annotations "
            "name none"
        )
    if numbers:
        shown = [f"{prefix}{numbers[number]}: {documents[number].name}" for number in as_readers]
        more = [f"{len(shown) - _MAX_NAMED} more"] if len(shown) > _MAX_NAMED else []
        notes.append(
            f"{len(as_readers)} files list the same images: each is one reader where annotations "
            f"name none ({', '.join([*shown[:_MAX_NAMED], *more])})"
        )
    return Readers(names, copies, notes)


def _units(listings: Iterable[Listing]) -> dict[_Unit, Listing]:
    counts: Counter[int] = Counter()
    units: dict[_Unit, Listing] = {}
    for listing in listings:
        units[_Unit(listing.document, counts[listing.document])] = listing
        counts[listing.document] += 1
    return units


def _num_documents(units: Iterable[_Unit]) -> int:
    return len({unit.document for unit in units})


def _prefix(named: Collection[str], count: int) -> str:
    """Return what goes in front of a number to name a reader who is none of these."""
    prefix = "R"
    while any(f"{prefix}{number}" in named for number in range(1, count + 1)):
        prefix += "-"
    return prefix


def _copies(
    documents: Sequence[SourceDocument],
    units: Mapping[PurePosixPath, Mapping[_Unit, Listing]],
) -> tuple[set[tuple[int, Id]], list[str]]:
    """Return the listings that repeat those of an earlier unit, and a note on each pair of lists.

    Raises:
        DataError: If two lists are partly one, or each annotates what the other leaves empty.
    """
    shared: dict[tuple[_Unit, _Unit], list[tuple[Listing, Listing]]] = defaultdict(list)
    for of_file in units.values():
        ordered = list(of_file.items())
        for position, (unit, listing) in enumerate(ordered):
            for earlier, first in ordered[:position]:
                shared[earlier, unit].append((first, listing))
    if not shared:
        return set(), []
    said = _Said(documents)
    copies: set[tuple[int, Id]] = set()
    notes: list[str] = []
    for (earlier, unit), pairs in shared.items():
        left = [(first, second) for first, second in pairs if first.key not in copies]
        if not left or not said.is_copy(left):
            continue
        copies |= {second.key for _, second in left}
        name = documents[unit.document].name
        if earlier.document == unit.document:
            notes.append(
                f"{len(left)} file(s) are listed under several image ids of {name} with the very "
                "same boxes: they are used once, and are no second reader"
            )
        else:
            notes.append(
                f"{name} repeats what {documents[earlier.document].name} says of {len(left)} "
                "image(s), box for box: they are used once, and are no second reader"
            )
    return copies, notes


class _Said:
    """What annotations say of listed images, to be compared."""

    def __init__(self, documents: Sequence[SourceDocument]) -> None:
        self._documents = documents
        self._marks: dict[tuple[int, object], Counter[tuple[str, str, str]]] = defaultdict(Counter)
        for number, document in enumerate(documents):
            entries = document.annotations
            boxes = np.round(entries.boxes, _DECIMALS).tolist()
            for row in np.flatnonzero(document.use.used).tolist():
                label = document.classes[entries.categories[row]]
                # As text: NaN is not equal to itself.
                mark = label, entries.readers[row], str(boxes[row])
                self._marks[number, entries.images[row]][mark] += 1

    def is_copy(self, pairs: Sequence[tuple[Listing, Listing]]) -> bool:
        """Return whether the second listing of each pair says what the first does.

        Raises:
            DataError: If that can't be told.
        """
        marks = [(self._marks[first.key], self._marks[second.key]) for first, second in pairs]
        drawn = [(first, second) for first, second in marks if first or second]
        if not drawn:
            return False
        if all(first == second for first, second in drawn):
            return True
        num_equal = sum((first & second).total() for first, second in drawn)
        num_boxes = min(
            sum(first.total() for first, _ in drawn), sum(second.total() for _, second in drawn)
        )
        if num_boxes and 2 * num_equal >= num_boxes:
            raise DataError(
                f"{self._names(pairs)} list the same images, and {num_equal} of {num_boxes} boxes "
                "are the very same. Are they two states of one list? Leave the older one out. Or "
                "two readers? Name the `reader` in each annotation."
            )
        is_named = all(reader for pair in drawn for marks in pair for _, reader, _ in marks)
        is_apart = num_boxes and not any(first and second for first, second in drawn)
        if is_apart and not is_named and len(drawn) >= _MIN_APART:
            raise DataError(
                f"{self._names(pairs)} list the same {len(pairs)} image(s), and none of them has "
                "annotations in both. Are they parts of one list? Leave out of each list of images "
                "those that are annotated in the other. Or two readers? Name the `reader` in each "
                "annotation."
            )
        return False

    def _names(self, pairs: Sequence[tuple[Listing, Listing]]) -> str:
        first, second = (self._documents[listing.document].name for listing in pairs[0])
        return f"Two parts of {first}" if first == second else f"{first} and {second}"
