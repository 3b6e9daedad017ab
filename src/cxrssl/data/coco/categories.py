"""Which `categories` of a COCO file are classes."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.coco.json import Category, NormalId


@dataclass(frozen=True)
class Classes:
    """Classes of a COCO file.

    Attributes:
        names: Category id -> name of the classes, numbers before words, as pycocotools sorts.
        parents: Category id -> name of those left out because they are only supercategories.
        notes: What was left out, a sentence each.
    """

    names: dict[NormalId, str]
    parents: dict[NormalId, str]
    notes: tuple[str, ...]


def classes_of(
    path: Path,
    categories: Sequence[Category],
    used: Callable[[], Collection[NormalId | None]],
    *,
    repeated: Collection[str] = (),
) -> Classes:
    """Return the classes among categories.

    A category without annotations is left out if it is the supercategory of another: Roboflow lists
    the dataset itself as one, often with its child's name. One that names itself as its
    supercategory is a class. Of two with one name, one without annotations is left out.

    Args:
        path: Path of the file, for messages.
        categories: As `read_document` returns them.
        used: Returns the category ids that annotations name; not called where it does not matter.
        repeated: Names that several categories may have.

    Raises:
        DataError: If two categories have one name, and annotations name both.
    """
    parent_names = {c.supercategory for c in categories if isinstance(c.supercategory, str)}
    ordered = sorted(categories, key=lambda category: (isinstance(category.id, str), category.id))
    names: dict[NormalId, str] = {c.id: c.name for c in ordered}  # type: ignore[misc]
    parent_ids = {c.id for c in categories if c.name in parent_names and c.supercategory != c.name}
    if not parent_ids and len(set(names.values())) == len(names):
        return Classes(names, {}, ())
    in_use = used()
    parents = {key: name for key, name in names.items() if key in parent_ids and key not in in_use}
    if len(parents) == len(names):
        parents = {}
    keys_by_name: dict[str, list[NormalId]] = defaultdict(list)
    for key, name in names.items():
        if key not in parents:
            keys_by_name[name].append(key)
    class_ids: set[NormalId] = set()
    for name, keys in keys_by_name.items():
        used_ids = [key for key in keys if key in in_use]
        if len(used_ids) > 1 and name not in repeated:
            raise DataError(
                f"{path} gives one name to two categories, {name!r} to {used_ids[0]!r} and "
                f"{used_ids[1]!r}, and annotations name both. Give each its own, or merge them."
            )
        class_ids |= set(used_ids or keys[:1])
    notes = [
        f"category {key!r} ({printable(name)}) is left out: it is the supercategory of others and "
        "has no annotation"
        for key, name in parents.items()
    ]
    notes += [
        f"category {names[key]!r} is listed twice; the one without annotations, {key!r}, is left "
        "out"
        for keys in keys_by_name.values()
        for key in keys
        if key not in class_ids
    ]
    classes = {key: name for key, name in names.items() if key in class_ids}
    return Classes(classes, parents, tuple(notes))
