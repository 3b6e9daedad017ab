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
        names: Category id -> name, numbers before words, as pycocotools sorts them.
        parents: The same for categories that were left out because they only hold others.
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
        path: Of the file, for messages.
        categories: As `read_document` returns them.
        used: Returns the category ids that annotations name; not called where it does not matter.
        repeated: Names that several categories may have.

    Raises:
        DataError: If two categories have one name, and annotations name both.
    """
    held = {kind.supercategory for kind in categories if isinstance(kind.supercategory, str)}
    ordered = sorted(categories, key=lambda kind: (isinstance(kind.id, str), kind.id))
    names: dict[NormalId, str] = {kind.id: kind.name for kind in ordered}  # type: ignore[misc]
    holders = {k.id for k in categories if k.name in held and k.supercategory != k.name}
    if not holders and len(set(names.values())) == len(names):
        return Classes(names, {}, ())
    in_use = used()
    parents = {key: name for key, name in names.items() if key in holders and key not in in_use}
    if len(parents) == len(names):
        parents = {}
    alike: dict[str, list[NormalId]] = defaultdict(list)
    for key, name in names.items():
        if key not in parents:
            alike[name].append(key)
    kept: set[NormalId] = set()
    for name, keys in alike.items():
        named = [key for key in keys if key in in_use]
        if len(named) > 1 and name not in repeated:
            raise DataError(
                f"{path} gives one name to two categories, {name!r} to {named[0]!r} and "
                f"{named[1]!r}, and annotations name both. Give each its own, or make one of them."
            )
        kept |= set(named or keys[:1])
    notes = [
        f"category {key!r} ({printable(name)}) is left out: it is the supercategory of others and "
        "has no annotation"
        for key, name in parents.items()
    ]
    notes += [
        f"category {names[key]!r} is listed twice; the one without annotations, {key!r}, is left "
        "out"
        for keys in alike.values()
        for key in keys
        if key not in kept
    ]
    classes = {key: name for key, name in names.items() if key in kept}
    return Classes(classes, parents, tuple(notes))
