"""Images and categories of a COCO document, and remarks on them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrssl.core.sizes import Size, stated_size
from cxrssl.data.coco.categories import classes_of
from cxrssl.data.coco.json import Document, NormalId


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
        path: Path of the document.
        images: Id to number; ids as `normal_id` has them.
        file_names: File name of each image, None where the file gives none.
        categories: Id to number.
        names: Name of each category.
        readers: Readers who looked at each image; None where the file does not say.
        sizes: (width, height) of each image in pixels, None where the file does not say.
        kinds: `kind` of each image, None where the file gives none.
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
    kinds: tuple[object, ...] = ()


def index_of(path: Path, document: Document, used: Callable[[], Collection[Any]]) -> Index:
    """Number images and classes by their ids, numbers before words, as pycocotools sorts.

    Args:
        path: Path of the file.
        document: Content of the file.
        used: Returns the category ids that annotations name; not called where it does not matter.

    Raises:
        DataError: If two categories have one name, and annotations name both.
    """
    images = sorted(document.images, key=lambda image: (isinstance(image.id, str), image.id))
    classes = classes_of(path, document.categories, used)
    return Index(
        path,
        {image.id: number for number, image in enumerate(images)},  # type: ignore[misc]
        tuple(image.file_name for image in images),
        {key: number for number, key in enumerate(classes.names)},
        tuple(classes.names.values()),
        tuple(None if i.readers is None else tuple(dict.fromkeys(i.readers)) for i in images),
        tuple(stated_size(image.width, image.height) for image in images),
        classes.parents,
        Remarks(tuple(f"{path}: {note}" for note in classes.notes)),
        tuple(image.kind for image in images),
    )
