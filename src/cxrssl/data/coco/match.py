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

_MAX_NAMED = 3
_SUFFIX = re.compile(r"\.(dicom|dcm|png|jpe?g|tiff?|bmp|gif|webp|jp2|j2k|npy|nii|nii\.gz)", re.I)


@dataclass(frozen=True)
class MatchedIds:
    """Numbers of a truth's images and categories by the ids of another file."""

    images: Mapping[NormalId, int]
    categories: Mapping[NormalId, int]
    remarks: Remarks = field(default_factory=Remarks)


def match_ids(
    path: Path,
    images: Mapping[NormalId, str | None],
    categories: Mapping[NormalId, str | None],
    truth: Index,
) -> MatchedIds:
    """Find the images and categories of a file in a truth.

    Args:
        path: Path of the file.
        images: Image id -> file name, None where the file gives none.
        categories: Category id -> name, None where the file gives none.
        truth: The truth in which they are looked up.

    Raises:
        DataError: If one is not there, is another file or category, or may be one of several.
    """
    image_numbers, of_images = _matched_images(path, images, truth)
    class_numbers, of_classes = _matched_categories(path, categories, truth)
    return MatchedIds(image_numbers, class_numbers, of_images + of_classes)


def remarks_on_ids(path: Path, keys: Collection[NormalId], truth: Index) -> Remarks:
    """Say if ids that are a truth's would be other images as file names."""
    by_id = {key: truth.images[key] for key in keys}
    names = _Names(truth.file_names)
    return Remarks(warnings=tuple(_ids_that_name_files(path, by_id, truth, names)))


def match_document(document: Index, truth: Index) -> MatchedIds:
    """Find the images and categories of a document in a truth; see `match_ids`.

    Images of other sizes are warned of: their boxes are in other pixels.
    """
    file_names = dict(zip(document.images, document.file_names, strict=True))
    category_names = dict(zip(document.categories, document.names, strict=True))
    ids = match_ids(document.path, file_names, category_names, truth)
    warnings = tuple(_size_differences(document, truth, ids.images))
    return MatchedIds(ids.images, ids.categories, ids.remarks + Remarks(warnings=warnings))


def _matched_images(
    path: Path, images: Mapping[NormalId, str | None], truth: Index
) -> tuple[dict[NormalId, int], Remarks]:
    by_id = {key: truth.images[key] for key in images if key in truth.images}
    conflict = next(
        (
            key
            for key, number in by_id.items()
            if not _may_be_one_file(images[key], truth.file_names[number])
        ),
        None,
    )
    names = _Names(truth.file_names)
    if len(by_id) == len(images) and conflict is None:
        return by_id, Remarks(warnings=tuple(_ids_that_name_files(path, by_id, truth, names)))
    by_name = {key: names.find(name, key) for key, name in images.items()}
    numbers = {key: hits[0] for key, hits in by_name.items() if len(hits) == 1}
    if len(numbers) == len(images) == len(set(numbers.values())):
        key, number = next(iter(numbers.items()))
        note = (
            f"{path} was matched by file name with {truth.path}, because its image ids are others: "
            f"{len(numbers)} image(s), such as {images[key] or key!r} with "
            f"{truth.file_names[number]!r}"
        )
        return numbers, Remarks((note,))
    if len(by_id) == len(images) and conflict is not None:
        raise DataError(
            f"{path}: image {conflict!r} is {images[conflict]!r}, and in {truth.path} "
            f"{truth.file_names[by_id[conflict]]!r}. Give both files the same ids or the same file "
            f"names{_why_not(images, by_name, truth)}."
        )
    missing = [key for key in images if key not in by_id]
    # Those that have an image by their name are not what is wrong.
    unmatched = [key for key in missing if key not in numbers] or missing
    raise DataError(
        f"{_not_listed(path, unmatched, 'image')}{_why_not(images, by_name, truth)}. "
        "Leave them out, or list them."
    )


def _matched_categories(
    path: Path, categories: Mapping[NormalId, str | None], truth: Index
) -> tuple[dict[NormalId, int], Remarks]:
    by_id = {key: truth.categories[key] for key in categories if key in truth.categories}
    conflict = next(
        (
            key
            for key, number in by_id.items()
            if categories[key] not in (None, truth.names[number])
        ),
        None,
    )
    if len(by_id) == len(categories) and conflict is None:
        return by_id, Remarks()
    numbers = {name: number for number, name in enumerate(truth.names)}
    by_name = {key: numbers[name] for key, name in categories.items() if name in numbers}
    if len(by_name) == len(categories):
        note = (
            f"categories of {path} were matched by name with {truth.path}, because their ids are "
            "others"
        )
        return by_name, Remarks((note,))
    if len(by_id) == len(categories) and conflict is not None:
        raise DataError(
            f"{path}: category {conflict!r} is {categories[conflict]!r}, and in {truth.path} "
            f"{truth.names[by_id[conflict]]!r}. Give both files the same ids or the same names."
        )
    missing = [key for key in categories if key not in by_id]
    raise DataError(_not_listed(path, missing, "category") + _advice(categories, missing, truth))


def _not_listed(path: Path, missing: Sequence[NormalId], word: str) -> str:
    return (
        f"{path}: {len(missing)} {word} id(s) are not listed by the truth, such as "
        f"{', '.join(map(repr, missing[:_MAX_NAMED]))}"
    )


def _advice(categories: Collection[NormalId], missing: Sequence[NormalId], truth: Index) -> str:
    """Say what to do about categories that a truth does not list: most often they are shifted."""
    truth_ids = list(truth.categories)
    ids_text = f"{', '.join(map(repr, truth_ids[:20]))}{', ...' if len(truth_ids) > 20 else ''}"
    integers = [key for key in categories if isinstance(key, int)]
    if integers and len(integers) == len(categories):
        for start, fits in (
            (0, 0 in missing and max(integers) < len(truth_ids)),
            (1, max(integers) <= len(truth_ids)),
        ):
            if fits and min(integers) >= start:
                return f"; {_renumber(start, truth_ids, ids_text)}"
    parent = next((truth.parents[key] for key in missing if key in truth.parents), None)
    parent_note = "" if parent is None else f" ({parent!r} only holds others, and was left out)"
    return f"; the truth's are {ids_text}{parent_note}. Leave them out, or list them."


def _renumber(start: int, truth_ids: Sequence[NormalId], ids_text: str) -> str:
    """Say how ids that count the truth's categories from `start` become the truth's."""
    begin = f"its category ids seem to begin at {start}, and the truth's are {ids_text}."
    if truth_ids == list(range(1 - start, 1 - start + len(truth_ids))):
        return f"{begin} {'Subtract 1 from' if start else 'Add 1 to'} each."
    changes = [f"{start + offset} by {key!r}" for offset, key in enumerate(truth_ids[:_MAX_NAMED])]
    more = ", and so on" if len(truth_ids) > _MAX_NAMED else ""
    return f"{begin} Replace {', '.join(changes)}{more}."


def _size_differences(
    document: Index, truth: Index, numbers: Mapping[NormalId, int]
) -> Iterator[str]:
    if not document.sizes or not truth.sizes:
        return
    differing = [
        (key, size, truth_size)
        for key, number in document.images.items()
        if (size := document.sizes[number])
        and (truth_size := truth.sizes[numbers[key]])
        and size != truth_size
    ]
    if differing:
        key, size, truth_size = differing[0]
        yield (
            f"{document.path}: {len(differing)} image(s) are of another size than in {truth.path}, "
            f"such as {key!r} of {size[0]} x {size[1]} px there {truth_size[0]} x {truth_size[1]}: "
            "boxes in pixels of different pictures can't be compared"
        )


def _ids_that_name_files(
    path: Path, by_id: Mapping[NormalId, int], truth: Index, names: "_Names"
) -> Iterator[str]:
    """Warn where ids fit, and as file names would mean other images."""
    stems = {key: names.find(None, key) for key in by_id}
    if by_id and all(len(hits) == 1 for hits in stems.values()):
        differing = [key for key, number in by_id.items() if stems[key][0] != number]
        if differing and not all(name is None for name in truth.file_names):
            number = by_id[differing[0]]
            yield (
                f"{path}: image ids were taken as ids of {truth.path}, and might be file names: "
                f"{differing[0]!r} is the id of {truth.file_names[number]!r} and the name of "
                f"{truth.file_names[stems[differing[0]][0]]!r}"
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
    first_parts, second_parts = _parts(first), _parts(second)
    num_shared = min(len(first_parts), len(second_parts))
    return first_parts[-num_shared:] == second_parts[-num_shared:]


class _Names:
    """File names of a truth, to be found by a name with other folders or another suffix."""

    def __init__(self, file_names: Sequence[str | None]) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._tails: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._joined: dict[str, list[int]] = defaultdict(list)
        self._by_integer: dict[int, list[int]] = defaultdict(list)
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
                self._by_integer[int(parts[-1])].append(number)
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
            return self._by_integer.get(key, [])
        return []


def _why_not(
    images: Mapping[NormalId, str | None], matches: Mapping[NormalId, list[int]], truth: Index
) -> str:
    """Say why names did not help."""
    for key, numbers in matches.items():
        if len(numbers) > 1:
            names = ", ".join(repr(truth.file_names[number]) for number in numbers[:_MAX_NAMED])
            return f" (by file name {images[key] or key!r} could be {names})"
    keys: dict[int, NormalId] = {}
    for key, numbers in matches.items():
        if numbers and numbers[0] in keys:
            both = f"{images[keys[numbers[0]]] or keys[numbers[0]]!r} and {images[key] or key!r}"
            return f" (by file name {both} would both be {truth.file_names[numbers[0]]!r})"
        if numbers:
            keys[numbers[0]] = key
    unmatched = next((key for key, numbers in matches.items() if not numbers), None)
    if unmatched is None or all(name is None for name in truth.file_names):
        return ""
    return f" (nor is {images[unmatched] or unmatched!r} the name of a file there)"
