"""Which file of a folder a table means, whatever the tool that wrote the name.

A name is taken as stated, relative to the folder or its `images/`; one without a suffix means the
image that is called so but for its suffix. Else, because labelling tools
write Windows paths, paths of their own server, upload prefixes and URLs, it is looked up by its
last part, and taken if one file only can be meant. Nothing outside the folder is ever opened.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from cxrssl.core.printable import printable
from cxrssl.data.tables.files import list_folder
from cxrssl.data.tables.masks import masks_of
from cxrssl.data.tables.rows import IMAGE_SUFFIXES

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Label Studio puts eight digits of a random number in front of what is uploaded.
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class Location:
    """Where the file of a stated name lies.

    Attributes:
        path: The file relative to the folder; where there is none, what was looked for.
        is_guess: Whether it was looked up by its last part.
        fault: Why there is no file that can be taken; "" if there is one.
    """

    path: PurePosixPath
    is_guess: bool = False
    fault: str = ""


def locate(
    folder: Path, names: Iterable[str], *, among: Iterable[PurePosixPath] | None = None
) -> dict[str, Location]:
    """Return where the file of each stated name lies in a folder.

    Args:
        folder: Folder of the source.
        names: As they are stated.
        among: The files, relative to it, that a name can mean which is not where it says; None for
            all.
    """
    lookup = _Lookup(folder, among)
    locations = {name: lookup.location(name) for name in names}
    # A guess is good only if no other name leads to the same file.
    claims = Counter(location.path for location in locations.values() if not location.fault)
    for name, location in locations.items():
        if location.is_guess and not location.fault and claims[location.path] > 1:
            fault = f"{_missing(name)}; {location.path.name} is what other names mean as well"
            locations[name] = replace(location, path=_candidates(name)[0], fault=fault)
    return locations


class _Lookup:
    """The files of a folder, listed when the first name is not found as stated."""

    def __init__(self, folder: Path, among: Iterable[PurePosixPath] | None) -> None:
        self._folder = folder
        self._among = None if among is None else sorted(among)
        self._root = folder.resolve()
        self._inside: dict[Path, bool] = {}

    def location(self, name: str) -> Location:
        candidates = _candidates(name)
        for candidate in candidates:
            if _leads_out(candidate) or _URL.match(name):
                continue
            for path in (candidate, "images" / candidate):
                # Unlike pathlib's, takes names that no file can have.
                if os.path.isfile(self._folder / path):  # noqa: PTH113
                    if self._is_inside(self._folder / path):
                        return Location(path)
                    fault = (
                        f"{_shown(str(path))} is a link out of the folder, which is not followed. "
                        "Copy the file there"
                    )
                    return Location(path, fault=fault)
        return self._guess(name, candidates)

    def _guess(self, name: str, candidates: list[PurePosixPath]) -> Location:
        for candidate in candidates:
            for name_part in (candidate.name, _UPLOAD_PREFIX.sub("", candidate.name, count=1)):
                same_name = self._by_name.get(name_part, [])
                same_name = same_name or self._by_folded_name.get(name_part.casefold(), [])
                if same_name:
                    matches = self._no_masks(_best_matches(same_name, candidate))
                    if len(matches) == 1:
                        return Location(matches[0], is_guess=True)
                    fault = f"{_missing(name)}; {len(matches)} files elsewhere are called so"
                    return Location(candidate, fault=fault)
            matches = _best_matches(self._by_stem.get(candidate.name, []), candidate)
            matches = self._no_masks(matches)
            if len(matches) == 1:
                # An id is no path: to look it up is no guess.
                return Location(matches[0], is_guess=len(candidate.parts) > 1)
            if matches:
                fault = f"{len(matches)} files are called {_shown(candidate.name)} but for a suffix"
                return Location(candidate, fault=fault)
        name_part = _shown(candidates[0].name)
        fault = f"{_missing(name)}, and none in the folders below is called {name_part}"
        return Location(candidates[0], fault=fault)

    def _no_masks(self, matches: list[PurePosixPath]) -> list[PurePosixPath]:
        """Return what a name means of several files: none that is called the mask of another."""
        if len(matches) < 2:
            return matches
        masks = masks_of(self._folder, [self._folder / path for path in matches])
        return [path for path in matches if self._folder / path not in masks]

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        paths: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path in self._walk():
            paths[path.name].append(path)
        return dict(paths)

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        """Images by their name without the suffix, as tables of ids have it."""
        paths: dict[str, list[PurePosixPath]] = defaultdict(list)
        for same_name in self._by_name.values():
            for path in same_name:
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    paths[path.stem].append(path)
        return dict(paths)

    @cached_property
    def _by_folded_name(self) -> dict[str, list[PurePosixPath]]:
        paths: dict[str, list[PurePosixPath]] = defaultdict(list)
        for name, same_name in self._by_name.items():
            paths[name.casefold()] += same_name
        return dict(paths)

    def _walk(self) -> Iterator[PurePosixPath]:
        files = self._among
        if files is None:
            listed = list_folder(self._folder).files
            files = [PurePosixPath(path.relative_to(self._folder).as_posix()) for path in listed]
        for path in files:
            file = self._folder / path
            if not file.is_symlink() or self._is_inside(file):
                yield path

    def _is_inside(self, path: Path) -> bool:
        if path.is_symlink():
            return self._is_resolved_inside(path)
        # To resolve every path anew takes a call for each of its folders.
        if path.parent not in self._inside:
            self._inside[path.parent] = self._is_resolved_inside(path.parent)
        return self._inside[path.parent]

    def _is_resolved_inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # such as a ring of links
            return False


def _candidates(name: str) -> list[PurePosixPath]:
    """Return the paths that a stated name may mean, as stated first; at least one."""
    texts = [name]
    if _URL.match(name) or "?d=" in name:
        try:
            address = urlsplit(name)
            texts = [*parse_qs(address.query).get("d", []), unquote(address.path)]
        except ValueError:  # such as an address in half a bracket
            texts = [name]
    if "%" in name:
        texts += [unquote(text) for text in texts]
    paths = [PurePosixPath(text.replace("\\", "/")) for text in texts]
    return list(dict.fromkeys(path for path in paths if path.name)) or [PurePosixPath("unnamed")]


def _best_matches(paths: list[PurePosixPath], stated: PurePosixPath) -> list[PurePosixPath]:
    """Return the places that share most of their last folders with a path."""
    scores = [_shared_parts(path.parent, stated.parent) for path in paths]
    return [p for p, score in zip(paths, scores, strict=True) if score == max(scores)]


def _shared_parts(path: PurePosixPath, stated: PurePosixPath) -> int:
    count = 0
    for part, stated_part in zip(reversed(path.parts), reversed(stated.parts), strict=False):
        if part.casefold() != stated_part.casefold():
            break
        count += 1
    return count


def _leads_out(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts


def _missing(name: str) -> str:
    if any(_leads_out(candidate) for candidate in _candidates(name)):
        return f"{_shown(name)} leads out of the folder, which is not followed"
    return f"there is no file {_shown(name)} in the folder or its images/"


def _shown(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
