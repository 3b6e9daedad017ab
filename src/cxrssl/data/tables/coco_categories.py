"""The `categories` of a COCO file: which of them are classes."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.tables.rows import storable


@dataclass(frozen=True)
class Category:
    """One entry of `categories`; `parent` is the name of its supercategory, if it has one."""

    key: int | str
    name: str
    parent: str | None


def category(entry: dict[str, Any]) -> Category:
    """Return an entry of `categories`; one for no finding in our spelling.

    Raises:
        KeyError: If it has no id or name.
        TypeError: If one of them is of another type.
        ValueError: If the id is no whole number.
    """
    name, parent = entry["name"], entry.get("supercategory")
    if not isinstance(name, str):
        raise TypeError("a name that is no text")
    is_nothing = name.strip().casefold() == NO_FINDING.casefold()
    return Category(
        normal_id(entry["id"]),
        NO_FINDING if is_nothing else storable(name),
        storable(parent) if isinstance(parent, str) else None,
    )


def classes_of(
    path: Path, categories: Collection[Category], used: Collection[int | str | None]
) -> tuple[dict[int | str, str], list[str]]:
    """Return category id -> class name, and what was left out, a sentence each.

    A category that no annotation names is left out if it is the ancestor of another (Roboflow lists
    the data set itself as one) or if another has its name.

    Args:
        path: Of the file, for messages.
        categories: All that are listed.
        used: The category ids that annotations name.

    Raises:
        DataError: If one id is given twice, or one name to two categories that are both used.
    """
    by_key: dict[int | str, Category] = {}
    for entry in categories:
        if by_key.setdefault(entry.key, entry).name != entry.name:
            raise DataError(
                f"{path} gives one id to two categories, {entry.key!r} to {entry.name!r} too; "
                "a number and the same number as text are one id. Give each its own."
            )
    distinct = list(by_key.values())
    ancestors = [c for c in distinct if c.key not in used and _has_child(c, distinct)]
    kept, twins = _one_a_name(path, [c for c in distinct if c not in ancestors], used)
    notes = []
    if ancestors:
        names = ", ".join(repr(c.name) for c in ancestors)
        notes.append(
            f"category {names} is the supercategory of others and has no annotation; it is no class"
        )
    if twins:
        names = ", ".join(repr(name) for name in twins)
        notes.append(f"category {names} is listed twice; the one without annotations is left out")
    return {c.key: c.name for c in kept}, notes


def _has_child(parent: Category, categories: Collection[Category]) -> bool:
    return any(c.parent == parent.name for c in categories if c.key != parent.key)


def _one_a_name(
    path: Path, categories: Collection[Category], used: Collection[int | str | None]
) -> tuple[list[Category], list[str]]:
    """Return the categories with one for each name, and the names of which some were left out."""
    alike: dict[str, list[Category]] = defaultdict(list)
    for entry in categories:
        alike[entry.name].append(entry)
    kept: list[Category] = []
    for name, group in alike.items():
        named = [c for c in group if c.key in used]
        if len(named) > 1 and name != NO_FINDING:
            keys = " and ".join(repr(c.key) for c in named[:2])
            raise DataError(
                f"{path} gives one name to two categories, {name!r} to {keys}, and annotations "
                "name both. Give each its own, or make one of them."
            )
        kept += named or group[:1]
    return kept, [name for name, group in alike.items() if len(group) > 1]
