"""Which licences come with an installed package, as far as its metadata tells.

Source: the core metadata specification (License-Expression, License, Classifier) and SPDX's
expressions (OR is a choice, AND is not, WITH takes something back).
"""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# GNU's own name, or its initials; "LGPL" has no word boundary before its GPL.
_COPYLEFT = re.compile(
    r"\bA?GPL(?![- ]?compatible)|GNU\s+(Affero\s+)?General\s+Public\s+Licen[sc]e|"
    r"\bAffero\b|General Public License v\d",
    re.IGNORECASE,
)
_LESSER = re.compile(r"(GNU\s+)?(Lesser|Library)\s+General\s+Public\s+Licen[sc]e", re.IGNORECASE)
# What these let out is every program that is only compiled, built or run with the code.
_LINKING = re.compile(
    r"A?GPL[\w.+-]*\s+WITH\s+(GCC|Classpath|Autoconf|Bootloader|Bison)[\w.-]*", re.IGNORECASE
)
_CHOICE = re.compile(r"\s+or\s+(?!any\s+later|later|newer|above|\(at your option\))|\s*\|\|?\s*")
# A text longer than this is a licence itself: its name comes first, those of bundled files later.
_NAME_CHARACTERS = 300


def is_copyleft(statement: str) -> bool:
    """Return whether a licence's name or SPDX expression leaves no choice but GPL or AGPL."""
    text = _LINKING.sub("", _LESSER.sub("", statement.strip()[:_NAME_CHARACTERS]))
    while (inner := re.search(r"\(([^()]*)\)", text)) is not None:
        # What stands in brackets has one answer, which then stands for it.
        answer = " GPL " if is_copyleft(inner[1]) else " free "
        text = text[: inner.start()] + answer + text[inner.end() :]
    choices = _CHOICE.split(re.sub(r"\s+OR\s+", " or ", text))
    return all(_COPYLEFT.search(choice) is not None for choice in choices)


def statements(name: str) -> list[str]:
    """Return all that a package says of its licence.

    A package of several licence classifiers may mean a choice or not: each counts, unless an
    expression says which.
    """
    metadata = distribution(name).metadata
    expression = metadata.get("License-Expression")
    if expression:
        return [expression]
    classifiers = metadata.get_all("Classifier") or []
    text = [metadata["License"]] if metadata.get("License", "").strip() else []
    return text + [line for line in classifiers if line.startswith("License ::")]


def runtime_closure(pyproject: Path) -> list[str]:
    """Return all packages that an installation without extras brings here, by normalised names.

    Raises:
        PackageNotFoundError: If one is not installed.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    todo = [Requirement(line) for line in project["dependencies"]]
    done: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *sorted(requirement.extras)):
            name = canonicalize_name(requirement.name)
            if (name, extra) not in done:
                done.add((name, extra))
                todo.extend(_required(name, extra))
    return sorted({name for name, _ in done})


def _required(name: str, extra: str) -> Iterator[Requirement]:
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement
