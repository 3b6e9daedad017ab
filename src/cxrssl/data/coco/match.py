"""Whose image and category an id of one COCO file is in another: by id, else by name.

Files name one image by different ids: a tool numbers what it is given, takes the stem of the file
name as id, or makes a number of the stem. Names are only asked where ids don't fit or name other
files, and only if each name leads to one image.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.data.coco.index import Index, Remarks
from cxrssl.data.coco.json import NormalId

_MOST_NAMED = 3
_SUFFIX = re.compile(r"\.(dicom|dcm|png|jpe?g|tiff?|bmp|gif|webp|jp2|j2k|npy|nii|nii\.gz)", re.I)


@dataclass(frozen=True)
class Matched:
    """Numbers of a truth's images and categories by the ids of another file."""

    images: Mapping[NormalId, int]
    categories: Mapping[NormalId, int]
    remarks: Remarks = field(default_factory=Remarks)


def matched(
    path: Path,
    images: Mapping[NormalId, str | None],
    categories: Mapping[NormalId, str | None],
    truth: Index,
) -> Matched:
    """Find the images and categories of a file in a truth.

    Args:
        path: Of the file.
        images: Its image ids, with file names where it has them.
        categories: Its category ids, with names where it has them.
        truth: Where they are looked up.

    Raises:
        DataError: If one is not there, is another file or category, or may be one of several.
    """
    image_numbers, of_images = _matched_images(path, images, truth)
    class_numbers, of_classes = _matched_categories(path, categories, truth)
    return Matched(image_numbers, class_numbers, of_images + of_classes)


def said_of_ids(path: Path, keys: Collection[NormalId], truth: Index) -> Remarks:
    """Say if ids that are a truth's would be other images as file names."""
    by_id = {key: truth.images[key] for key in keys}
    names = _Names(truth.file_names)
    return Remarks(warnings=tuple(_ids_that_name_files(path, by_id, truth, names)))


def matched_document(document: Index, truth: Index) -> Matched:
    """Find the images and categories of a document in a truth; see `matched`.

    Images of other sizes are warned of: their boxes are in other pixels.
    """
    names = dict(zip(document.images, document.file_names, strict=True))
    classes = dict(zip(document.categories, document.names, strict=True))
    own = matched(document.path, names, classes, truth)
    warnings = tuple(_other_sizes(document, truth, own.images))
    return Matched(own.images, own.categories, own.remarks + Remarks(warnings=warnings))


def _matched_images(
    path: Path, images: Mapping[NormalId, str | None], truth: Index
) -> tuple[dict[NormalId, int], Remarks]:
    by_id = {key: truth.images[key] for key in images if key in truth.images}
    other = next(
        (
            key
            for key, number in by_id.items()
            if not _may_be_one_file(images[key], truth.file_names[number])
        ),
        None,
    )
    names = _Names(truth.file_names)
    if len(by_id) == len(images) and other is None:
        return by_id, Remarks(warnings=tuple(_ids_that_name_files(path, by_id, truth, names)))
    by_name = {key: names.find(name, key) for key, name in images.items()}
    numbers = {key: hits[0] for key, hits in by_name.items() if len(hits) == 1}
    if len(numbers) == len(images) == len(set(numbers.values())):
        key, number = next(iter(numbers.items()))
        text = (
            f"{path} was matched by file name with {truth.path}, because its image ids are others: "
            f"{len(numbers)} image(s), such as {images[key] or key!r} with "
            f"{truth.file_names[number]!r}"
        )
        return numbers, Remarks((text,))
    if len(by_id) == len(images) and other is not None:
        raise DataError(
            f"{path}: image {other!r} is {images[other]!r}, and in {truth.path} "
            f"{truth.file_names[by_id[other]]!r}. Give both files the same ids or the same file "
            f"names{_why_not(images, by_name, truth)}."
        )
    unlisted = [key for key in images if key not in by_id]
    # Those that have an image by their name are not what is wrong.
    unknown = [key for key in unlisted if key not in numbers] or unlisted
    raise DataError(
        f"{_not_listed(path, unknown, 'image')}{_why_not(images, by_name, truth)}. "
        "Leave them out, or list them."
    )


def _matched_categories(
    path: Path, categories: Mapping[NormalId, str | None], truth: Index
) -> tuple[dict[NormalId, int], Remarks]:
    by_id = {key: truth.categories[key] for key in categories if key in truth.categories}
    other = next(
        (
            key
            for key, number in by_id.items()
            if categories[key] not in (None, truth.names[number])
        ),
        None,
    )
    if len(by_id) == len(categories) and other is None:
        return by_id, Remarks()
    numbers = {name: number for number, name in enumerate(truth.names)}
    by_name = {key: numbers[name] for key, name in categories.items() if name in numbers}
    if len(by_name) == len(categories):
        text = (
            f"categories of {path} were matched by name with {truth.path}, because their ids are "
            "others"
        )
        return by_name, Remarks((text,))
    if len(by_id) == len(categories) and other is not None:
        raise DataError(
            f"{path}: category {other!r} is {categories[other]!r}, and in {truth.path} "
            f"{truth.names[by_id[other]]!r}. Give both files the same ids or the same names."
        )
    unknown = [key for key in categories if key not in by_id]
    raise DataError(_not_listed(path, unknown, "category") + _advice(categories, unknown, truth))


def _not_listed(path: Path, unknown: Sequence[NormalId], word: str) -> str:
    return (
        f"{path}: {len(unknown)} {word} id(s) are not listed by the truth, such as "
        f"{', '.join(map(repr, unknown[:_MOST_NAMED]))}"
    )


def _advice(categories: Collection[NormalId], unknown: Sequence[NormalId], truth: Index) -> str:
    """Say what to do about categories that a truth does not list: most often they are shifted."""
    theirs = list(truth.categories)
    listed = f"{', '.join(map(repr, theirs[:20]))}{', ...' if len(theirs) > 20 else ''}"
    whole = [key for key in categories if isinstance(key, int)]
    if whole and len(whole) == len(categories):
        for first, is_so in (
            (0, 0 in unknown and max(whole) < len(theirs)),
            (1, max(whole) <= len(theirs)),
        ):
            if is_so and min(whole) >= first:
                return f"; {_renumber(first, theirs, listed)}"
    parent = next((truth.parents[key] for key in unknown if key in truth.parents), None)
    held = "" if parent is None else f" ({parent!r} only holds others, and was left out)"
    return f"; the truth's are {listed}{held}. Leave them out, or list them."


def _renumber(first: int, theirs: Sequence[NormalId], listed: str) -> str:
    """Say how ids that count the truth's categories from `first` become the truth's."""
    begin = f"its category ids seem to begin at {first}, and the truth's are {listed}."
    if theirs == list(range(1 - first, 1 - first + len(theirs))):
        return f"{begin} {'Subtract 1 from' if first else 'Add 1 to'} each."
    changes = [f"{first + place} by {key!r}" for place, key in enumerate(theirs[:_MOST_NAMED])]
    more = ", and so on" if len(theirs) > _MOST_NAMED else ""
    return f"{begin} Replace {', '.join(changes)}{more}."


def _other_sizes(document: Index, truth: Index, numbers: Mapping[NormalId, int]) -> Iterator[str]:
    if not document.sizes or not truth.sizes:
        return
    differing = [
        (key, ours, theirs)
        for key, own in document.images.items()
        if (ours := document.sizes[own])
        and (theirs := truth.sizes[numbers[key]])
        and ours != theirs
    ]
    if differing:
        key, ours, theirs = differing[0]
        yield (
            f"{document.path}: {len(differing)} image(s) are of another size than in {truth.path}, "
            f"such as {key!r} of {ours[0]} x {ours[1]} px there {theirs[0]} x {theirs[1]}: boxes "
            "in pixels of different pictures can't be compared"
        )


def _ids_that_name_files(
    path: Path, by_id: Mapping[NormalId, int], truth: Index, names: "_Names"
) -> Iterator[str]:
    """Warn where ids fit, and as file names would mean other images."""
    stems = {key: names.find(None, key) for key in by_id}
    if by_id and all(len(hits) == 1 for hits in stems.values()):
        others = [key for key, number in by_id.items() if stems[key][0] != number]
        if others and not all(name is None for name in truth.file_names):
            number = by_id[others[0]]
            yield (
                f"{path}: image ids were taken as ids of {truth.path}, and might be file names: "
                f"{others[0]!r} is the id of {truth.file_names[number]!r} and the name of "
                f"{truth.file_names[stems[others[0]][0]]!r}"
            )


def _parts(name: str) -> tuple[str, ...]:
    """Return the folders of a file name and, last, its name without the suffix of an image."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return (*parts[:-1], _stem(parts[-1])) if parts else ("",)


def _joined_names(tail: tuple[str, ...], name: str) -> Iterator[str]:
    """Yield the image ids that `tables.image_ids` may make of a name that is not the only one."""
    joined = "_".join(tail)
    if len(tail) > 1:
        yield joined
    cut = name.rfind(".")
    if cut > 0 and _SUFFIX.fullmatch(name[cut:]):
        yield f"{joined}_{name[cut + 1 :]}"


def _stem(name: str) -> str:
    cut = name.rfind(".")
    return name[:cut] if cut > 0 and _SUFFIX.fullmatch(name[cut:]) else name


def _may_be_one_file(first: str | None, second: str | None) -> bool:
    """Return whether two names may be of one file: one may have more folders, or no suffix."""
    if first is None or second is None or first == second:
        return True
    one, other = _parts(first), _parts(second)
    shared = min(len(one), len(other))
    return one[-shared:] == other[-shared:]


class _Names:
    """File names of a truth, to be found by a name with other folders or another suffix."""

    def __init__(self, file_names: Sequence[str | None]) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._tails: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._joined: dict[str, list[int]] = defaultdict(list)
        self._whole: dict[int, list[int]] = defaultdict(list)
        self._parts: list[tuple[str, ...]] = []
        for number, name in enumerate(file_names):
            parts = () if name is None else _parts(name)
            self._parts.append(parts)
            if name is None:
                continue
            self._exact[name].append(number)
            for start in range(len(parts)):
                self._tails[parts[start:]].append(number)
                for joined in _joined_names(parts[start:], name):
                    self._joined[joined].append(number)
            if parts[-1].isascii() and parts[-1].isdigit():
                self._whole[int(parts[-1])].append(number)
        self._folders_tell = any(
            len(hits) > 1 for tail, hits in self._tails.items() if len(tail) == 1
        )

    def find(self, name: str | None, key: NormalId) -> list[int]:
        """Return the images that a file name may mean, and without one those that an id may.

        The whole name comes first, then the longest part of it, from its end, that any image has.
        Where only folders tell two images apart, other folders are another image.
        """
        text = str(key) if name is None else name
        if text in self._exact:
            return self._exact[text]
        parts = _parts(text)
        for start in range(len(parts)):
            hits = self._tails.get(parts[start:], [])
            if start and self._folders_tell:
                hits = [number for number in hits if len(self._parts[number]) == len(parts) - start]
            if hits:
                return hits
        if text in self._joined:
            return self._joined[text]
        if name is None and isinstance(key, int):
            return self._whole.get(key, [])
        return []


def _why_not(
    images: Mapping[NormalId, str | None], hits: Mapping[NormalId, list[int]], truth: Index
) -> str:
    """Say why names did not help."""
    for key, numbers in hits.items():
        if len(numbers) > 1:
            names = ", ".join(repr(truth.file_names[number]) for number in numbers[:_MOST_NAMED])
            return f" (by file name {images[key] or key!r} could be {names})"
    seen: dict[int, NormalId] = {}
    for key, numbers in hits.items():
        if numbers and numbers[0] in seen:
            both = f"{images[seen[numbers[0]]] or seen[numbers[0]]!r} and {images[key] or key!r}"
            return f" (by file name {both} would both be {truth.file_names[numbers[0]]!r})"
        if numbers:
            seen[numbers[0]] = key
    lost = next((key for key, numbers in hits.items() if not numbers), None)
    if lost is None or all(name is None for name in truth.file_names):
        return ""
    return f" (nor is {images[lost] or lost!r} the name of a file there)"
