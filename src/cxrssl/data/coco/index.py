"""Images and categories of a COCO document, and what had to be said about them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.json import Category, Document, Id, Ids, blocks

Size = tuple[int, int]
NormalId = int | str
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Remarks:
    """What a user should know about files that were scored, a sentence each.

    Attributes:
        notes: What was converted, matched by other means than ids, or left out.
        warnings: What makes it likely that the scores are not those that were wanted.
    """

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: "Remarks") -> "Remarks":
        """Return both, each sentence once."""
        return Remarks(
            tuple(dict.fromkeys(self.notes + other.notes)),
            tuple(dict.fromkeys(self.warnings + other.warnings)),
        )


@dataclass(frozen=True)
class Index:
    """Images and categories of a document, in the order of their ids.

    Attributes:
        path: Of the document.
        images: Id to number; ids as `normal_id` has them.
        file_names: Of each image, None where the file gives none.
        categories: Id to number.
        names: Of each category.
        readers: Of each image, who looked at it; None where the file does not say.
        sizes: (width, height) of each image in pixels, None where the file does not say.
        parents: Id to name of categories that were left out, because they only hold others.
        remarks: What was changed or left out while it was read.
    """

    path: Path
    images: dict[NormalId, int]
    file_names: tuple[str | None, ...]
    categories: dict[NormalId, int]
    names: tuple[str, ...]
    readers: tuple[tuple[str, ...] | None, ...]
    sizes: tuple[Size | None, ...] = ()
    parents: Mapping[NormalId, str] = field(default_factory=dict)
    remarks: Remarks = field(default_factory=Remarks)


def index_of(path: Path, document: Document) -> Index:
    """Number images and categories by their ids, numbers before words, as pycocotools sorts.

    Raises:
        DataError: If there is none, or an id or a category's name is given twice.
    """
    image_ids = normal_ids(path, [image.id for image in document.images], "image")
    images = _in_order(zip(image_ids, document.images, strict=True))
    parents = _parents(path, document)
    class_ids = normal_ids(path, [kind.id for kind in document.categories], "category")
    pairs = zip(class_ids, document.categories, strict=True)
    classes = _in_order((key, kind) for key, kind in pairs if key not in parents)
    names = [kind.name for _, kind in classes]
    for word, keys in (
        ("image id", [key for key, _ in images]),
        ("category id", [key for key, _ in classes]),
        ("category name", names),
    ):
        twice = [key for key, number in Counter(keys).items() if number > 1]
        if twice:
            raise DataError(
                f"{path} lists {word} {twice[0]!r} twice (1, 1.0 and '1' are one id). "
                "Give each its own."
            )
        if not keys:
            raise DataError(f"{path} lists no {word}; expected some.")
    return Index(
        path,
        {key: number for number, (key, _) in enumerate(images)},
        tuple(image.file_name for _, image in images),
        {key: number for number, (key, _) in enumerate(classes)},
        tuple(names),
        tuple(None if i.readers is None else tuple(dict.fromkeys(i.readers)) for _, i in images),
        tuple(_size(image.width, image.height) for _, image in images),
        parents,
        Remarks(tuple(_left_out(path, key, name) for key, name in parents.items())),
    )


def normal_ids(path: Path, keys: Iterable[Id], word: str) -> list[NormalId]:
    """Return ids in the form in which equal ones are equal.

    Raises:
        DataError: If one is a number that is not whole.
    """
    try:
        return [key if type(key) is int else normal_id(key) for key in keys]
    except ValueError as error:
        raise DataError(
            f"{path} has an {word} id that can't be used: {error}. Expected whole numbers or words."
        ) from error


def _in_order(pairs: Iterable[tuple[NormalId, Entry]]) -> list[tuple[NormalId, Entry]]:
    return sorted(pairs, key=lambda pair: (isinstance(pair[0], str), pair[0]))


def _parents(path: Path, document: Document) -> dict[NormalId, str]:
    """Return the categories that are others' supercategory and have no annotation.

    A Roboflow export has one, often of its child's name. A category that calls itself its
    supercategory is the child.
    """
    ids = normal_ids(path, [kind.id for kind in document.categories], "category")
    holders = {
        key: kind.name
        for key, kind in zip(ids, document.categories, strict=True)
        if kind.supercategory != kind.name and _holds_another(kind, document.categories)
    }
    if not holders:
        return {}
    used = _used_categories(path, document)
    kept = [key for key in ids if key not in holders or key in used]
    return {key: name for key, name in holders.items() if key not in used} if kept else {}


def _holds_another(kind: Category, categories: Collection[Category]) -> bool:
    return any(other is not kind and other.supercategory == kind.name for other in categories)


def _used_categories(path: Path, document: Document) -> set[NormalId]:
    keys = {entry.category_id for part in blocks(path, document.annotations, Ids) for entry in part}
    return set(normal_ids(path, keys, "category"))


def _left_out(path: Path, key: NormalId, name: str) -> str:
    return (
        f"{path}: category {key!r} ({printable(name)}) is left out: it is the supercategory of "
        "others and has no annotation"
    )


def _size(width: object, height: object) -> Size | None:
    """Return a size where a file states one; some write null, 0 or -1 for an unknown one."""
    sides = [
        int(side)
        for side in (width, height)
        if isinstance(side, int | float) and not isinstance(side, bool) and 1 <= side <= 1e7
    ]
    return (sides[0], sides[1]) if len(sides) == 2 else None
